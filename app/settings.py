"""The server's settings: one frozen object, read once from the environment, passed down."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 2**20


class Settings(BaseSettings):
    """Every setting has a unit in its name and can be set as ``PARETOFLEET_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix="PARETOFLEET_",
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(
        default=Path("var/server"),
        description="Folder for artifacts and, by default, the SQLite database",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL: sqlite:///... or postgresql+psycopg://...; "
        "unset means SQLite in data_dir",
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8000, description="TCP port to listen on"
    )
    poll_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=60, description="Mean time between two polls of one box; jittered by a quarter"
    )
    heartbeat_flush_seconds: Annotated[float, Field(ge=0.0, le=3600.0)] = Field(
        default=15.0, description="How often the times of last contact are written, all at once"
    )
    max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=MIB, description="Largest JSON body that is read; larger ones are refused (413)"
    )
    max_image_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=16 * MIB, description="Largest image file accepted for cloud inference"
    )
    max_image_pixels: Annotated[int, Field(ge=1)] = Field(
        default=25_000_000, description="Most pixels an image may have; checked before decoding"
    )
    inference_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="Cloud inferences that run at the same time"
    )
    inference_queue: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=32, description="Cloud inferences that may wait; more are answered 503"
    )
    writer_queue: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=20_000, description="Check-ins that may wait for a commit; more are answered 503"
    )
    busy_timeout_ms: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=5_000, description="How long SQLite waits for another writer before giving up"
    )
    docs_enabled: bool = Field(
        default=True, description="Serve the operators' page at /docs and /openapi.json"
    )

    @property
    def url(self) -> str:
        """Return the database URL, the SQLite file in ``data_dir`` by default."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'paretofleet.db'}"
