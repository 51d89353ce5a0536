"""The application, put together. Importing this does nothing; call ``create_app``."""

import gc
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

from fastapi import FastAPI

from app import openapi, problems
from app.limits import BodyLimit
from app.routes import artifacts, device, devices, docs, health, inference, policies, releases
from app.runtime import Clock, Jitter, build
from app.settings import Settings

FIRST_GENERATION_OBJECTS = 5_000
"""Allocations between two small collections; a request makes a few hundred objects."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def spare_the_collector() -> None:
    """Leave all that was imported and built so far out of garbage collection, for good.

    For a process that serves and does nothing else; call it once, before the first request. Walking
    the routes and models again and again costs a quarter of a poll and most of its p99
    (`docs/benchmarks.md`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(FIRST_GENERATION_OBJECTS, *gc.get_threshold()[1:])


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
    )
    app.state.runtime = runtime
    app.add_middleware(
        BodyLimit,
        default_bytes=settings.max_body_bytes,
        limits={"/v1/inference": settings.max_image_bytes},
    )
    problems.install(app)
    openapi.install(app)
    # Routes are tried in order, so the calls that every box makes all day come first.
    for module in (device, artifacts, inference, health, devices, policies, releases):
        app.include_router(module.router)
    if settings.docs_enabled:
        app.include_router(docs.router)
    return app
