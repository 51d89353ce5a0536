"""What the agent and the lab say to the one fine-tune program, and what it answers.

Plain dataclasses: the program runs under the box's memory cap and does not import pydantic. Who
starts it validates the answer with ``pydantic.TypeAdapter(FinetuneResult)``.

Exit codes: 0 done; 2 the job or its images are unusable (``reason`` says what to do); 3 the
memory cap was reached; 4 the numbers went bad (a loss that is not finite); 5 the disk is full;
143 it was asked to stop (SIGTERM) and the same job continues from its checkpoint. On every exit
the result file exists, written by rename, except after SIGTERM or SIGKILL (and where the job
names no usable output folder).
"""

from dataclasses import dataclass, field
from typing import Literal

EXIT_DONE = 0
EXIT_BAD_INPUT = 2
EXIT_OVER_CAP = 3
EXIT_DIVERGED = 4
EXIT_DISK_FULL = 5
EXIT_STOPPED = 143

RESULT_FILE = "result.json"
MODEL_FILE = "model.onnx"
CHECKPOINT_FILE = "checkpoint.safetensors"
SCORES_FILE = "scores.json"
SEEN_FILE = "seen.txt"
MOST_SCORES = 5000


@dataclass(frozen=True, kw_only=True)
class FinetuneJob:
    """One fine-tune. Paths are absolute; ``data_dir`` holds one folder per class.

    Images are split by ``seed`` into training, validation and test parts (60/20/20, stratified,
    near-duplicates together); with ``test_dir`` the test part is that folder instead and
    ``data_dir`` is split 75/25. ``train_limit`` bounds training plus validation images.
    ``max_steps`` ends early: two steps are the dry run that proves the memory. ``dropout`` is the
    variant's rate, used where the training graph has a ``dropout_mask`` input. ``rival_path`` is a
    model to score beside the new one, on the test images that its ``rival_seen_path`` lacks.
    """

    job_id: str
    variant: str
    weights_path: str
    inference_path: str
    train_graph_path: str
    output_dir: str
    data_dir: str
    classes: list[str]
    trainable: list[str]
    frozen: list[str]
    input_px: int
    in_channels: int
    batch: int
    micro_batch: int
    epochs: int
    optimiser: Literal["sgd", "adam"]
    learning_rate: float
    dropout: float = 0.0
    seed: int = 0
    threads: int = 1
    test_dir: str | None = None
    train_limit: int | None = None
    max_steps: int | None = None
    ram_cap_bytes: int | None = None
    rival_path: str | None = None
    rival_seen_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class FinetuneProgress:
    """One JSON line on standard output.

    ``total`` steps are an estimate while images are read (event ``load``) and exact afterwards.
    """

    event: Literal["load", "step", "epoch", "evaluate", "done", "error"]
    done: int
    total: int
    loss: float | None = None
    validation_balanced_accuracy: float | None = None
    rss_bytes: int | None = None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """The result file. Accuracies are balanced; ``*_lower`` is the 95 % lower bound (see method).

    ``floor_bytes`` is RSS after the imports, ``peak_rss_bytes`` the process's high-water mark,
    ``workload_bytes`` the difference. ``train_seconds`` covers the optimisation steps alone. The
    job's rival and the new model (``*_against_rival``) were scored on the same ``n_rival`` images.
    """

    job_id: str
    status: Literal["done", "bad_input", "over_cap", "diverged", "disk_full"]
    reason: str
    n_train: int = 0
    n_validation: int = 0
    n_test: int = 0
    n_dropped: int = 0
    balanced_accuracy_before: float | None = None
    balanced_accuracy_after: float | None = None
    balanced_accuracy_after_lower: float | None = None
    auc_before: float | None = None
    auc_after: float | None = None
    best_epoch: int = 0
    steps: int = 0
    images_trained: int = 0
    peak_rss_bytes: int = 0
    peak_anonymous_bytes: int = 0
    floor_bytes: int = 0
    workload_bytes: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    train_seconds: float = 0.0
    latency_ms: float | None = None
    model_sha256: str | None = None
    balanced_accuracy_rival: float | None = None
    balanced_accuracy_against_rival: float | None = None
    n_rival: int = 0
    cap_kinds: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


Score = tuple[int, int, float]


@dataclass(frozen=True, kw_only=True)
class FinetuneScores:
    """The scores file: the delivered model's answers to the images that it did not train on.

    A score is the true class and the predicted class (indices into the job's ``classes``), and the
    probability of the predicted one. The checkpoint was chosen on ``validation``; ``test`` had no
    part in any choice. Each part holds at most ``MOST_SCORES`` images, drawn by the job's seed with
    the classes in their shares.
    """

    model_sha256: str
    validation: list[Score]
    test: list[Score]
