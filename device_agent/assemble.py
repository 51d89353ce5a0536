"""Puts a box together from its settings: the only place that opens files, sockets and databases."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import psutil

from contract.desired import DesiredState
from contract.device import DeviceProfile
from contract.finetune import FinetuneProgress
from contract.inference import Prediction
from device_agent.agent import Agent
from device_agent.box import Box, TryModel, try_model_in_child
from device_agent.cap_probe import probe_cap_kinds
from device_agent.client import ServerClient, open_http
from device_agent.errors import NotLetInError
from device_agent.fetch import Cache
from device_agent.images import for_the_cloud
from device_agent.outbox import Outbox
from device_agent.paths import StatePaths, lock_state
from device_agent.predict import Predictor
from device_agent.profile import Survey, take_profile
from device_agent.serve import LocalServer
from device_agent.settings import AgentSettings
from device_agent.shelf import Shelf
from device_agent.state import StateStore
from device_agent.trainer import Trainer, TrainerLimits
from device_agent.world import World

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
            client=ServerClient(http, monotonic=world.monotonic),
            trainer=trainer or Trainer(limits=limits),
            world=world,
            take_profile=profile or profiler(settings, paths),
            try_model=try_model,
            on_progress=on_progress,
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
    store: StateStore, desired: Callable[[], DesiredState | None], settings: AgentSettings
) -> Predictor:
    """Return a predictor with a client of its own, so that it never waits for the agent's loop."""

    def cloud(image: bytes) -> Prediction:
        identity = store.identity()
        if identity is None:
            raise NotLetInError("this box is not enrolled; run `device_agent run` first")
        ca_file = str(settings.ca_file) if settings.ca_file else None
        with open_http(identity.server, ca_file) as http:
            return ServerClient(http, identity.token).infer(*for_the_cloud(image))

    return Predictor(Shelf(store.paths), desired, cloud)


def open_desk(agent: Agent, port: int) -> LocalServer:
    """Return the local endpoint of a running agent."""
    box = agent.box
    predictor = make_predictor(box.store, lambda: agent.state.desired, box.settings)

    def status() -> dict[str, Any]:
        return {"step": agent.state.step, "active": Shelf(box.paths).active_id()}

    return LocalServer(port, predictor, agent.window.note, status)
