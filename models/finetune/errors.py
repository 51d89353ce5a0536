"""Named ends of a fine-tune: each knows its exit code, its status, and what the user should do.

Standard library only: raised before numpy is loaded as well as after. Nothing here is caught
except in ``models.finetune.program``.
"""

from typing import Literal

from contract.finetune import (
    EXIT_BAD_INPUT,
    EXIT_DISK_FULL,
    EXIT_DIVERGED,
    EXIT_OVER_CAP,
    EXIT_STOPPED,
)

Status = Literal["bad_input", "over_cap", "diverged", "disk_full"]


class FinetuneError(Exception):
    """A fine-tune ended early. ``status`` goes into the result file, ``exit_code`` to the shell."""

    exit_code: int
    status: Status


class BadInputError(FinetuneError):
    """The images or the artifacts cannot be used; the message says what to do."""

    exit_code = EXIT_BAD_INPUT
    status = "bad_input"


class BadJobError(BadInputError):
    """A field of the job file is missing, unknown or out of range."""

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(f"the job's field {field!r} {problem}; correct it and start again")


class FolderBusyError(BadInputError):
    """Another fine-tune works in the same output folder. Its files are left alone."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(f"another fine-tune is at work in {folder}; wait for its end")


class ModelsDisagreeError(BadInputError):
    """The fine-tuned inference graph and the training graph give different logits."""

    def __init__(self, difference: float, allowed: float) -> None:
        self.difference = difference
        super().__init__(
            f"the inference graph and the training graph differ by {difference:.2e} in their "
            f"logits (allowed: {allowed:.0e}); these artifacts do not belong together: fetch the "
            "variant again"
        )


class OverCapError(FinetuneError):
    """The memory cap was reached: take a smaller micro-batch, a later cut or a smaller variant."""

    exit_code = EXIT_OVER_CAP
    status = "over_cap"

    def __init__(self, doing: str, cap_bytes: int | None, peak_bytes: int) -> None:
        self.cap_bytes = cap_bytes
        limit = f"the cap of {cap_bytes} bytes" if cap_bytes else "the memory of this machine"
        super().__init__(
            f"{limit} was reached while {doing} (peak so far {peak_bytes} bytes); take a smaller "
            "micro-batch, a later cut or a smaller variant"
        )


class DivergedError(FinetuneError):
    """The loss or the logits are no longer finite."""

    exit_code = EXIT_DIVERGED
    status = "diverged"

    def __init__(self, what: str, step: int) -> None:
        self.step = step
        super().__init__(
            f"the {what} is not finite at step {step}; lower the learning rate. The best "
            "checkpoint so far is kept and no model was written"
        )


class DiskFullError(FinetuneError):
    """Writing failed for want of room. Older files are untouched."""

    exit_code = EXIT_DISK_FULL
    status = "disk_full"

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"no room left to write {path}; make room and start the job again")


class NeedsFrugalityError(Exception):
    """Memory ran out with onnxruntime's arena on: a fresh process may manage without it."""


class StoppedError(Exception):
    """SIGTERM arrived: the checkpoint stands and the same job continues from it."""

    exit_code = EXIT_STOPPED
