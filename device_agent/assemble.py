"""Puts a box together from its settings: the only place that opens files, sockets and databases."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil

from contract.desired import DesiredState
from contract.device import DeviceProfile
from contract.finetune import FinetuneProgress
from device_agent.cloud.audit import Audit
from device_agent.cloud.calibration_store import Calibrations
from device_agent.cloud.care import Care, Nobody, Witness
from device_agent.cloud.cloud_line import open_line
from device_agent.disk.paths import StatePaths, lock_state
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.loop.agent import Agent
from device_agent.loop.box import Box, TryModel, try_model_in_child
from device_agent.loop.rollback import after_failures
from device_agent.loop.state import StateStore
from device_agent.loop.world import World
from device_agent.machine.processor import usable_cores
from device_agent.machine.profile import Survey, take_profile
from device_agent.quality.look_child import Look, look_in_child
from device_agent.server.client import ServerClient, open_http
from device_agent.server.fetch import Cache
from device_agent.server.outbox import Outbox
from device_agent.serving.engines import Engines, threads_for
from device_agent.serving.predict import Predictor
from device_agent.settings import AgentSettings
from device_agent.training.cap_probe import probe_cap_kinds
from device_agent.training.trainer import Trainer, TrainerLimits

_STEP_BYTES = 16_000_000


def _ignore(_: FinetuneProgress) -> None:
    return


@contextlib.contextmanager
def open_agent(  # noqa: PLR0913 - the seams that tests and main fill
    settings: AgentSettings,
    *,
    http: httpx2.Client | None = None,
    world: World | None = None,
    trainer: Trainer | None = None,
    profile: Callable[[], DeviceProfile] | None = None,
    try_model: TryModel = try_model_in_child,
    on_progress: Callable[[FinetuneProgress], None] = _ignore,
    look_at_data: Look = look_in_child,
) -> Iterator[Agent]:
    """Yield an agent that holds its state directory; raises StateError when another has it."""
    paths = StatePaths(settings.state)
    paths.make()
    lock = lock_state(paths)
    world = world or World()
    limits = TrainerLimits(hang_s=settings.hang_s, deadline_s=settings.deadline_s)
    with contextlib.ExitStack() as stack:
        stack.callback(_release, lock)
        outbox = stack.enter_context(Outbox(paths.outbox, settings.outbox_bytes))
        if http is None:
            ca_file = str(settings.ca_file) if settings.ca_file else None
            http = stack.enter_context(open_http(settings.server, ca_file))
        box = Box(
            settings=settings,
            paths=paths,
            store=StateStore(paths),
            shelf=Shelf(paths),
            cache=Cache(paths.cache),
            outbox=outbox,
            client=ServerClient(http, monotonic=world.monotonic, alive=world.alive),
            trainer=trainer or Trainer(limits=limits),
            world=world,
            take_profile=profile or profiler(settings, paths),
            try_model=with_measuring(try_model, make_engines(settings, paths)),
            on_progress=on_progress,
            look_at_data=look_at_data,
        )
        yield Agent(box)


def _release(lock: int) -> None:
    import os  # noqa: PLC0415 - closing the descriptor frees the lock

    os.close(lock)


def profiler(settings: AgentSettings, paths: StatePaths) -> Callable[[], DeviceProfile]:
    """Return what takes this box's profile; the kinds of cap are probed once."""
    kinds = probe_cap_kinds()

    def take() -> DeviceProfile:
        survey = Survey(
            data=settings.data,
            state=paths.root,
            cache=paths.probe,
            operator_cap_bytes=settings.ram_cap,
            agent_bytes=own_bytes(settings.allowance_bytes),
            cap_kinds=kinds,
        )
        return take_profile(survey)

    return take


def own_bytes(allowance_bytes: int) -> int:
    """Return what the agent takes of the cap: the allowance, or more where it has outgrown that.

    More is counted in steps of 16 MB (a large model being served), so that it does not flap.
    """
    rss_bytes = psutil.Process().memory_info().rss
    return max(allowance_bytes, -(-rss_bytes // _STEP_BYTES) * _STEP_BYTES)


def make_predictor(
    store: StateStore,
    desired: Callable[[], DesiredState | None],
    settings: AgentSettings,
    witness: Witness | None = None,
) -> Predictor:
    """Return a predictor with a client of its own, so that it never waits for the agent's loop."""
    world, paths = World(), store.paths
    care = Care(
        threshold=Calibrations(paths).threshold,
        sample=Audit(paths.audit, settings.audit_bytes, world.now, world.chance).sample,
        witness=witness or Nobody(),
    )
    cloud = open_line(store, str(settings.ca_file) if settings.ca_file else None)
    on_failure = functools.partial(after_failures, store.paths)
    open_model = make_engines(settings, store.paths).open
    return Predictor(Shelf(paths), desired, cloud, open_model, on_failure=on_failure, care=care)


def make_engines(settings: AgentSettings, paths: StatePaths) -> Engines:
    """Return what opens models with this box's threads and provider."""
    return Engines(
        paths=paths,
        threads=threads_for(settings.serve_threads, usable_cores()),
        asked=settings.serve_provider,
        ram_cap_bytes=settings.ram_cap,
    )


def with_measuring(try_model: TryModel, engines: Engines) -> TryModel:
    """Return a trial that also measures accelerators for a model that passed it."""

    def tried(model: Path, manifest: Manifest) -> str | None:
        trouble = try_model(model, manifest)
        if trouble is None:
            engines.prepare(model, manifest)
        return trouble

    return tried
