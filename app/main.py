"""The application, put together. Importing this does nothing; call ``create_app``."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

from fastapi import FastAPI

from app import openapi, problems
from app.routes import artifacts, device, devices, docs, health, inference, policies, releases
from app.runtime import Clock, Jitter, build
from app.settings import Settings


def utc_now() -> datetime:
    return datetime.now(UTC)


def create_app(
    settings: Settings, *, clock: Clock = utc_now, jitter: Jitter = random.random
) -> FastAPI:
    """Return the application. The schema must be at head (``paretofleet migrate``)."""
    runtime = build(settings, clock, jitter)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await runtime.close()

    app = FastAPI(
        title="Paretofleet",
        version=version("paretofleet"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        lifespan=lifespan,
        max_body_size=settings.max_body_bytes,
    )
    app.state.runtime = runtime
    problems.install(app)
    openapi.install(app)
    for module in (devices, policies, releases, device, artifacts, health):
        app.include_router(module.router)
    app.include_router(inference.build_router(settings.max_image_bytes))
    if settings.docs_enabled:
        app.include_router(docs.router)
    return app
