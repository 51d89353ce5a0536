"""The box of ``bench/caps.py``: the real agent and its endpoint, in a process of their own.

    python -m bench.capped.box STATE SERVER TOKEN DATA [CGROUP_PROCS]

One JSON line in is one order (a budget, the kinds of cap, a hostile companion or none); one JSON
line out says how the box settled. Nothing of the agent is replaced but the terms of its memory:
the operator's cap makes the trainer's share exactly the budget, the companion takes memory within
the trainer's family.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from contract.device import DeviceProfile
from contract.finetune import FinetuneJob
from device_agent.assemble import open_agent, profiler
from device_agent.disk.paths import StatePaths
from device_agent.errors import AgentError
from device_agent.log import configure_logging
from device_agent.loop.agent import Agent
from device_agent.serving.services import Services
from device_agent.settings import AgentSettings
from device_agent.training.trainer import COMMAND, OnProgress, Trainer, TrainerRun

HOSTILE = (sys.executable, "-m", "bench.capped.hostile")
_TRIES = 4
_PAUSE_S = 1.0


@dataclass
class Order:
    """What the next run is held to."""

    budget_bytes: int = 10**9
    groups: bool = True
    hostile_bytes: int = 0
    marker: Path = field(default_factory=lambda: Path(mkdtemp()) / "marker")


@dataclass(frozen=True, kw_only=True)
class OrderedTrainer(Trainer):
    """The real trainer, with or without control groups, alone or in bad company."""

    order: Order
    nowhere: Path

    def run(
        self,
        job: FinetuneJob,
        on_progress: OnProgress = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> TrainerRun:
        command: tuple[str, ...] = COMMAND
        if self.order.hostile_bytes:
            command = (*HOSTILE, str(self.order.hostile_bytes), str(self.order.marker))
        root = Path("/") if self.order.groups else self.nowhere
        plain = Trainer(command=command, limits=self.limits, root=root, scopes=lambda: None)
        return plain.run(job, on_progress, stop)


def held_to(order: Order, take: Callable[[], DeviceProfile]) -> Callable[[], DeviceProfile]:
    """Return the box's real profile, capped so that the trainer's share is the budget."""

    def profile() -> DeviceProfile:
        real = take()
        cap = {"operator_cap_bytes": order.budget_bytes + real.agent_bytes}
        return real.model_copy(update=cap)

    return profile


def settle(agent: Agent) -> dict[str, Any]:
    """Go round until the box has settled; say where, or why not."""
    error: AgentError | None = None
    for _ in range(_TRIES):
        try:
            return {"step": agent.run_once(), "error": None, "reason": ""}
        except AgentError as exc:
            error = exc
            if exc.name not in {"starved", "deferred"}:
                break
            agent.box.world.wait(_PAUSE_S)
    return {"step": agent.state.step, "error": error.name if error else "", "reason": str(error)}


def obey(agent: Agent, order: Order, line: str) -> dict[str, Any]:
    """Carry out one order."""
    told = json.loads(line)
    order.budget_bytes, order.groups = told["budget_bytes"], told["groups"]
    order.hostile_bytes = told["hostile_bytes"]
    order.marker.unlink(missing_ok=True)
    answer = settle(agent)
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    rss_kib = next(line.split()[1] for line in status if line.startswith("VmRSS:"))
    active = agent.box.shelf.active_id()
    return {**answer, "agent_rss_bytes": int(rss_kib) * 1024, "active": active}


def main(arguments: list[str]) -> None:
    """Serve orders until the input ends."""
    state, server, token, data, *group = arguments
    for procs in group:
        Path(procs).write_text(str(os.getpid()), encoding="ascii")
    configure_logging(verbose=False, as_json=True)
    settings = AgentSettings.model_validate(
        {
            "server": server, "state": state, "enrol_token": token, "data": data,
            "name": "bench", "serve_port": 0,
        }
    )  # fmt: skip
    order, paths = Order(), StatePaths(settings.state)
    paths.make()
    profile = held_to(order, profiler(settings, paths))
    nowhere = Path(mkdtemp())
    trainer = OrderedTrainer(order=order, nowhere=nowhere)
    with open_agent(settings, trainer=trainer, profile=profile) as agent:
        services = Services(agent)
        services.start()
        port = services.desk.port if services.desk else 0
        sys.stdout.write(json.dumps({"port": port}) + "\n")
        sys.stdout.flush()
        for line in sys.stdin:
            sys.stdout.write(json.dumps(obey(agent, order, line)) + "\n")
            sys.stdout.flush()
        services.close()


if __name__ == "__main__":
    main(sys.argv[1:])
