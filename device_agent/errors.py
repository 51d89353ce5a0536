"""Everything that can go wrong on a box, by name; each says what to do about it.

``exit_code`` is what ``device_agent`` ends with. Codes: 0 done; 1 a bug; 2 usage; 3 the images
are unusable; 4 the server is away or talks nonsense; 5 the server does not let this box in;
6 the assignment was rejected or put off; 7 the disk is full; 8 the state directory is unusable;
9 no prediction could be made; 10 doctor found trouble; 11 the service could not be managed;
130 stopped by a signal while work was under way.
"""

from pathlib import Path


class AgentError(Exception):
    """A failure that a person can act on: the message says how."""

    exit_code = 1
    name = "agent_error"


class DataUnusableError(AgentError):
    exit_code = 3
    name = "data_unusable"


class ServerAwayError(AgentError):
    """No answer, or a 5xx that names no time to come back."""

    exit_code = 4
    name = "server_away"


class ServerBusyError(AgentError):
    """429 or 503: come back in ``retry_after_s``. Never counts as a failed attempt."""

    exit_code = 4
    name = "server_busy"

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"the server is busy and asks to be called again in {retry_after_s:g} s")


class NonsenseError(AgentError):
    """The answer is not what the contract says: HTML, bad JSON, a wrong schema, too long."""

    exit_code = 4
    name = "nonsense_answer"

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(
            f"the server's answer to {what} makes no sense ({detail}); "
            "check that --server names a Paretofleet server and no proxy page stands in between"
        )


class BadAddressError(AgentError):
    exit_code = 2
    name = "bad_address"


class BadSettingError(AgentError):
    """One or more settings are wrong; ``problems`` names each where it was written."""

    exit_code = 2
    name = "bad_setting"

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class TroubleFoundError(AgentError):
    """``doctor`` found something that does not work."""

    exit_code = 10
    name = "trouble_found"


class ServiceError(AgentError):
    """The service could not be installed, removed or looked at."""

    exit_code = 11
    name = "service_failed"


class BadReleaseError(AgentError):
    """A release folder that cannot be installed from: nothing of it was."""

    exit_code = 2
    name = "bad_release"


class QuarantineError(AgentError):
    """The folder holds no manifest that can be read, or one that leads astray."""

    exit_code = 2
    name = "quarantine_unusable"


class NothingToRollBackError(AgentError):
    """There is no other model to go back to, or no rollback to undo."""

    exit_code = 2
    name = "nothing_to_roll_back"


class RefusedError(AgentError):
    """A 4xx with the server's own words."""

    exit_code = 4
    name = "server_refused"

    def __init__(self, what: str, status: int, detail: str) -> None:
        self.status = status
        super().__init__(f"the server refused {what} (HTTP {status}): {detail}")


class NotLetInError(AgentError):
    exit_code = 5
    name = "not_let_in"


class TokenRefusedError(NotLetInError):
    """401: the token is unknown, expired or revoked."""


class SupersededError(AgentError):
    """410, or a newer assignment while work was under way: ask again what to be."""

    exit_code = 6
    name = "superseded"


class RejectedError(AgentError):
    exit_code = 6
    name = "assignment_rejected"


class DiskFullError(AgentError):
    exit_code = 7
    name = "disk_full"

    def __init__(self, path: Path, needed_bytes: int | None = None) -> None:
        need = "" if needed_bytes is None else f" ({needed_bytes / 1e6:.1f} MB are needed)"
        super().__init__(
            f"the disk that holds {path} is full{need}; make room or choose another --state: "
            "nothing was lost, the agent goes on where it stopped"
        )


class StateError(AgentError):
    exit_code = 8
    name = "state_unusable"


class ArtifactError(AgentError):
    """What was downloaded is not what the catalogue promised; nothing of it was kept."""

    exit_code = 4
    name = "artifact_bad"


class TruncatedError(ArtifactError):
    """The body ended early: the part is kept, so that the next try resumes."""

    name = "artifact_truncated"


class NoPredictionError(AgentError):
    exit_code = 9
    name = "no_prediction"


class BadImageError(AgentError):
    exit_code = 9
    name = "bad_image"


class StoppedError(AgentError):
    exit_code = 130
    name = "stopped"

    def __init__(self) -> None:
        super().__init__("stopped by a signal; the next start goes on where this one left off")
