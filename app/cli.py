"""The command line: serve, migrate, load releases, make tokens, show and change policies."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from app import database
from app.database import reading, writing
from app.errors import FleetError, UnreadablePolicyError
from app.main import create_app, spare_the_collector, utc_now
from app.services import catalogue, policies, tokens, views
from app.settings import Settings
from app.store import LocalStore
from contract.base import Name
from contract.policy import PolicyBody

app = typer.Typer(no_args_is_help=True, help="The Paretofleet server and its administration.")
token_app = typer.Typer(no_args_is_help=True, help="Make bearer tokens; each is shown once.")
release_app = typer.Typer(no_args_is_help=True, help="Load releases made by the lab.")
policy_app = typer.Typer(no_args_is_help=True, help="Show and change policies.")
app.add_typer(token_app, name="token")
app.add_typer(release_app, name="release")
app.add_typer(policy_app, name="policy")

GRACE_S = 10
Hours = Annotated[float | None, typer.Option(help="Hours until the token expires", min=0.01)]


def main() -> None:
    """Run the command line; what goes wrong is one line on stderr and exit code 1."""
    try:
        app()
    except FleetError as exc:
        said = f"{exc.title}. {exc.detail}"
    except ValidationError as exc:
        said = _what_is_invalid(exc)
    except OSError as exc:
        where = f"{exc.filename}: " if exc.filename else ""
        why = exc.strerror or type(exc).__name__
        said = f"{where}{why}. Check the path, its permissions and PARETOFLEET_DATA_DIR."
    else:
        return
    typer.echo(f"error: {said}", err=True)
    sys.exit(1)


def _what_is_invalid(error: ValidationError) -> str:
    """Say on one line what to change, without the input: it may be a secret."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    wrong = (": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in errors)
    return f"{error.title} is not valid. Correct {'; '.join(wrong)}."


@contextmanager
def _engine(*, at_head: bool = True) -> Iterator[tuple[Settings, Engine]]:
    settings = Settings()
    engine = database.make_engine(settings.url, busy_timeout_ms=settings.busy_timeout_ms)
    try:
        with database.named_errors(engine):
            if at_head:
                database.check_schema(engine)
            yield settings, engine
    finally:
        engine.dispose()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address; else PARETOFLEET_HOST")] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port; else PARETOFLEET_PORT", min=0, max=65535)
    ] = None,
) -> None:
    """Serve HTTP. Needs a migrated database."""
    with _engine() as (settings, _):
        pass
    application = create_app(settings)
    spare_the_collector()
    uvicorn.run(
        application,
        host=host or settings.host,
        port=settings.port if port is None else port,
        loop="asyncio",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


@app.command()
def migrate() -> None:
    """Bring the database schema to what this program needs."""
    with _engine(at_head=False) as (_, engine):
        database.migrate(engine)
    typer.echo("The schema is up to date.")


@release_app.command("load")
def release_load(
    folder: Annotated[Path, typer.Argument(help="Holds release.json and files/")],
) -> None:
    """Check every file of a release, store it, then make it visible all at once."""
    with _engine() as (settings, engine):
        release = catalogue.read_release(folder)
        store = LocalStore(settings.data_dir / "artifacts")
        catalogue.store_files(folder, release, store)
        with writing(engine) as tx:
            is_new = catalogue.publish(tx, release, store.location, utc_now())
    said = "loaded" if is_new else "was loaded already, unchanged"
    typer.echo(
        f"Release {release.number} {said}: {len(release.variants)} variants, "
        f"{len(release.points)} points, {len(release.artifacts())} files."
    )


@token_app.command("enrol")
def token_enrol(
    uses: Annotated[int, typer.Option(help="How many boxes it may register", min=1)] = 1,
    expires_hours: Hours = None,
) -> None:
    """Make an enrolment token: boxes register with it."""
    _print_token("enrol", uses, expires_hours)


@token_app.command("operator")
def token_operator(expires_hours: Hours = None) -> None:
    """Make an operator token: for /docs and everything under /v1."""
    _print_token("operator", None, expires_hours)


def _print_token(kind: tokens.Kind, uses: int | None, expires_hours: float | None) -> None:
    expires = None if expires_hours is None else timedelta(hours=expires_hours)
    with _engine() as (_, engine), writing(engine) as tx:
        token = tokens.issue(tx, kind, now=utc_now(), uses=uses, expires_after=expires)
    typer.echo(token)


@policy_app.command("list")
def policy_list() -> None:
    """List policies, one JSON line each."""
    with _engine() as (_, engine), reading(engine) as tx:
        for policy in views.policy_page(tx, cursor=None, limit=200).items:
            typer.echo(policy.model_dump_json())


@policy_app.command("set")
def policy_set(
    name: Annotated[str, typer.Argument(help="The policy's name")],
    file: Annotated[Path, typer.Argument(help="JSON file with the policy's body; '-' is stdin")],
) -> None:
    """Create the policy, or give it a new version."""
    known_as = TypeAdapter(Name).validate_python(name)
    body = PolicyBody.model_validate_json(_policy_bytes(file))
    with _engine() as (_, engine), writing(engine) as tx:
        known = policies.exists(tx, known_as)
        change = policies.new_version if known else policies.create
        policy, _ = change(tx, known_as, body, utc_now())
    typer.echo(f"Policy {policy.name} is at version {policy.version}.")


def _policy_bytes(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as exc:
        raise UnreadablePolicyError(file, exc.strerror or type(exc).__name__) from exc
