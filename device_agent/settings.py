"""The agent's one frozen settings object.

Each field is a key of the configuration file, ``PARETOFLEET_AGENT_<FIELD>`` in the environment and
an option of ``device_agent run``; ``device_agent.config`` puts the three together. Sizes are
decimal: 1 MB = 1,000,000 bytes.
"""

import socket
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_state_path
from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.base import Labels
from device_agent.sizes import parse_size

IDLE_ALLOWANCE_BYTES = 80_000_000
SERVING_ALLOWANCE_BYTES = 128_000_000


def _size(value: Any) -> Any:  # noqa: ANN401 - what pydantic hands a before-validator
    return parse_size(value) if isinstance(value, str) else value


def _secret_or_file(value: Any) -> Any:  # noqa: ANN401 - what pydantic hands a before-validator
    """Return the secret, or what the file that it names holds; an empty one is none."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return value
    try:
        named = "\0" not in text and Path(text).is_file()
        return (Path(text).read_text(encoding="utf-8").strip() if named else text) or None
    except (PermissionError, UnicodeDecodeError) as exc:
        message = "the file that it names cannot be read; let the agent's user read it"
        raise ValueError(message) from exc
    except OSError:
        return text


Size = Annotated[int, BeforeValidator(_size), Field(ge=1, le=2**53)]


class AgentSettings(BaseSettings):
    """Everything that the agent can be told. ``data`` holds one folder per class (ok, defect)."""

    model_config = SettingsConfigDict(
        env_prefix="PARETOFLEET_AGENT_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    server: str = Field(default="", description="URL of the server, such as https://fleet:8000")
    data: Path | None = Field(default=None, description="folder with one sub-folder per class")
    test_data: Path | None = Field(
        default=None, description="folder of images to judge by; without it, data is split"
    )
    state: Path = Field(
        default_factory=lambda: user_state_path("paretofleet-agent"),
        description="folder that holds everything the agent must remember",
    )
    name: str = Field(
        default_factory=socket.gethostname, min_length=1, max_length=120, description="serial"
    )
    labels: Labels = Field(default_factory=dict, description="labels that policies select by")
    enrol_token: Annotated[SecretStr | None, BeforeValidator(_secret_or_file)] = Field(
        default=None, description="enrolment token, or the path of a file that holds it"
    )
    ram_cap: Size | None = Field(
        default=None, description="most memory of agent and trainer together, such as 700MB"
    )
    serve_port: int | None = Field(
        default=None, ge=0, le=65535, description="port on 127.0.0.1 for local predictions"
    )
    serve_threads: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="threads of one prediction; else half the cores, to 4",
    )
    serve_provider: str = Field(
        default="auto",
        pattern=r"^[A-Za-z0-9]{1,64}$",
        description="auto (what was measured fastest), cpu, or the onnxruntime provider to measure",
    )
    watch_folder: Path | None = Field(
        default=None, description="folder in which every image that appears is judged"
    )
    watch_sort: bool = Field(
        default=False, description="move judged images to ok/ or defect/ in the watched folder"
    )
    tile_px: int | None = Field(
        default=None, ge=1, le=8192, description="side of a tile on a board, for inspect"
    )
    hang_s: float = Field(
        default=300.0, gt=0, le=86_400, description="a trainer silent for so long is ended"
    )
    deadline_s: float = Field(
        default=86_400.0, gt=0, le=864_000, description="the longest that one training may take"
    )
    threads: int = Field(default=1, ge=1, le=64, description="threads of the trainer")
    poll_s: float = Field(
        default=60.0, ge=1, le=86_400, description="poll interval where the server names none"
    )
    ca_file: Path | None = Field(default=None, description="certificate authority to trust")
    ready_hook: Path | None = Field(
        default=None,
        description="program that says by exit code 0 that the line lets the box train",
    )
    audit_bytes: Size = Field(
        default=200_000_000, description="most bytes of judged images kept for a person to look at"
    )
    outbox_bytes: Size = Field(
        default=8_000_000, description="most bytes of reports kept while the server is away"
    )

    @field_validator("server")
    @classmethod
    def _is_a_web_address(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            message = f"{url!r} is no server: write it like https://fleet.example:8000"
            raise ValueError(message)
        return url.rstrip("/")

    @property
    def allowance_bytes(self) -> int:
        """What the agent itself may occupy: a constant, so that decisions do not flap.

        80 MB idle (measured: 54); 128 MB when it also serves predictions (measured: 105 with a
        small model). An agent that outgrows it says so: see ``assemble.own_bytes``.
        """
        serves = self.serve_port is not None or self.watch_folder is not None
        return SERVING_ALLOWANCE_BYTES if serves else IDLE_ALLOWANCE_BYTES
