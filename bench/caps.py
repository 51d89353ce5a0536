"""The cap as a guarantee: prints one JSON object with its conditions.

    PYTHONPATH=. python -m bench.caps [--runs 300] [--work var/bench/caps] [--release FOLDER]

The real agent and its endpoint in one process (``bench/capped/box.py``), the real fine-tune program
beneath it, the real selection before it (``bench/capped/fleet.py``). Every run draws a budget and
hostile conditions from (seed, number): plans that promise too little, big batches, large images,
another process that takes memory, a crowded control group, a grandchild that takes memory within
the trainer's session, control groups or none. An independent sampler looks every 5 ms; a caller
asks the endpoint all along. Finished runs are lines of ``WORK/runs.jsonl``: a stopped bench goes
on where it was.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import platform
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from bench.capped.company import Caller, hog
from bench.capped.fleet import Fleet, serve
from bench.capped.sampler import SAMPLE_S, sampling
from bench.capped.summary import ending, summary
from contract.measurement import FrontierPoint
from contract.plan import Plan
from device_agent.training.cgroup import MemoryGroup, memory_groups
from models.data.generator.boards import write_board

SEED = 0
LEAST_BYTES, MOST_BYTES = 120_000_000, 2_000_000_000
LARGE_PX = (3000, 2000)
_ANSWER_S = 300.0
_BOARD = 9300
_CROWD_SLACK_BYTES = 150_000_000
_CROWD_BYTES = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What one run is held to."""

    number: int
    budget_bytes: int
    groups: bool
    plans: str
    images: str
    hog: str
    hog_bytes: int
    crowded: bool
    hostile_bytes: int


def draw(number: int) -> Conditions:
    """Return the conditions of a run: the same for the same number."""
    chance = random.Random(f"{SEED}/{number}")  # noqa: S311 - conditions, not secrets
    budget = int(math.exp(chance.uniform(math.log(LEAST_BYTES), math.log(MOST_BYTES))))
    crowded = chance.random() < 0.15  # noqa: PLR2004 - a share
    kind = "steady" if crowded else chance.choice(("none", "steady", "rough"))
    free_bytes = chance.randrange(200, 900) * 1_000_000
    hog_bytes = int(0.9 * budget) + _CROWD_BYTES if crowded else free_bytes
    return Conditions(
        number=number,
        budget_bytes=budget,
        groups=chance.random() < 0.5,  # noqa: PLR2004 - a share
        plans=chance.choice(("measured", "big_batch", "optimistic")),
        images=chance.choice(("tiles", "tiles", "large")),
        hog=kind,
        hog_bytes=hog_bytes,
        crowded=crowded,
        hostile_bytes=int(1.2 * budget) if chance.random() < 0.25 else 0,  # noqa: PLR2004
    )


def points_for(now: Conditions, catalogue: tuple[FrontierPoint, ...]) -> tuple[FrontierPoint, ...]:
    """Return five points of the catalogue, the smallest among them, as the conditions bend them."""
    chance = random.Random(f"points/{SEED}/{now.number}")  # noqa: S311
    smallest = min(catalogue, key=lambda p: p.peak_workload_bytes or 0)
    chosen = {p.key: p for p in (smallest, *chance.sample(catalogue, 4))}
    return tuple(_bent(point, now.plans) for point in chosen.values())


def _bent(point: FrontierPoint, how: str) -> FrontierPoint:
    """One epoch; ``big_batch``: all of a large batch at once; ``optimistic``: a false promise."""
    plan, promised = point.plan.model_dump() | {"epochs": 1}, point.peak_workload_bytes or 0
    if how == "big_batch":
        plan |= {"batch": 256, "micro_batch": 256}
    if how == "optimistic":
        plan |= {"micro_batch": plan["batch"]}
        promised //= 10
    bent = {"plan": Plan.model_validate(plan), "peak_workload_bytes": promised}
    return point.model_copy(update=bent)


def make_images(folder: Path) -> None:
    """Write the folders of images: few tiles, many tiles (for big batches), some very large."""
    if (folder / "done").exists():
        return
    for name, each in (("tiles", 16), ("many", 40), ("large", 12)):
        write_board(folder / name, _BOARD, n_ok=each, n_defect=each, px=224, seed=0)
    for label in ("ok", "defect"):
        for path in sorted((folder / "large" / label).iterdir())[:3]:
            with Image.open(path) as image:
                image.resize(LARGE_PX).save(path, quality=90)
    (folder / "done").touch()


@dataclass(frozen=True)
class Crowd:
    """The control group that box and hog share, where one can be made."""

    group: MemoryGroup
    folder: Path

    @property
    def procs(self) -> Path:
        return self.folder / "cgroup.procs"

    def limit(self, n_bytes: int | None) -> None:
        free = "max" if self.group.version == 2 else "-1"  # noqa: PLR2004 - a version
        text = free if n_bytes is None else str(n_bytes)
        (self.folder / self.group.limit_file).write_text(text, encoding="ascii")


@contextlib.contextmanager
def crowd() -> Iterator[Crowd | None]:
    """Yield a group without a limit, or None where none is writable."""
    for group in memory_groups():
        made = Crowd(group, group.folder / f"bench-caps-{os.getpid()}")
        try:
            made.folder.mkdir()
            made.limit(None)
        except OSError:
            with contextlib.suppress(OSError):
                made.folder.rmdir()
            continue
        try:
            yield made
        finally:
            with contextlib.suppress(OSError):
                made.folder.rmdir()
        return
    yield None


class BoxProcess:
    """The process of the box. ``deaths`` counts how often it ended without being asked to."""

    def __init__(self, work: Path, url: str, data: Path, group: Crowd | None) -> None:
        self.deaths = 0
        shutil.rmtree(work / "box", ignore_errors=True)
        self._log = work / "box.log"
        procs = [] if group is None else [str(group.procs)]
        arguments = [str(work / "box"), url, "bench", str(data), *procs]
        self._command = [sys.executable, "-m", "bench.capped.box", *arguments]
        self._start()

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        self.port = int((self._answer() or {"port": 0})["port"])

    @property
    def pid(self) -> int:
        return self._process.pid

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        for line in process.stdout or ():
            self._answers.put(line)
        self._answers.put("")

    def _answer(self) -> dict[str, Any] | None:
        with contextlib.suppress(queue.Empty, ValueError):
            found: dict[str, Any] = json.loads(self._answers.get(timeout=_ANSWER_S))
            return found
        return None

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Give an order and return the answer; a box that died or hung is started again."""
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(order) + "\n")
                self._process.stdin.flush()
        answer = self._answer()
        if answer is not None:
            return answer
        self._process.kill()
        code = self._process.wait()
        self.deaths += 1
        self._start()
        return {"step": "dead", "error": f"the agent ended with {code}", "reason": ""}

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=60)


def one_run(
    now: Conditions, fleet: Fleet, box: BoxProcess, work: Path, group: Crowd | None
) -> dict[str, Any]:
    """Run one set of conditions; return its line."""
    catalogue = fleet.release.points
    kind = "many" if now.plans == "big_batch" and now.images == "tiles" else now.images
    switch_link(work / "data", work / "images" / kind)
    fleet.offer(points_for(now, catalogue))
    order = {k: v for k, v in dataclasses.asdict(now).items() if k in ORDERED}
    deaths = box.deaths
    inside = group if now.crowded else None
    if inside is not None:
        inside.limit(_CROWD_SLACK_BYTES + now.budget_bytes)

    def put_off() -> bool:
        return any(outcome.status == "deferred" for outcome in fleet.said()[0])

    started = time.monotonic()
    with (
        hog(now.hog, now.hog_bytes, procs=inside.procs if inside else None, enough=put_off),
        sampling(box.pid, now.budget_bytes) as seen,
        Caller(box.port, *asked_images(work / "images")) as caller,
    ):
        answer = box.ask(order)
    if group is not None:
        group.limit(None)
    outcomes, steps_down = fleet.said()
    return {
        **dataclasses.asdict(now),
        **answer,
        "seconds": round(time.monotonic() - started, 2),
        "died": box.deaths - deaths,
        "outcomes": [o.model_dump(mode="json", exclude_none=True) for o in outcomes],
        "steps_down": steps_down,
        **dataclasses.asdict(seen),
        "asked": caller.asked,
        "unanswered": caller.failed,
        "slowest_ms": round(caller.slowest_ms, 1),
        "last_failure": caller.last_failure,
    }


def asked_images(folder: Path) -> tuple[bytes, bytes]:
    """Return a tile and a very large image, to be asked about."""
    files = sorted((folder / "large" / "ok").iterdir())
    return files[-1].read_bytes(), files[0].read_bytes()


ORDERED = ("budget_bytes", "groups", "hostile_bytes")


def switch_link(link: Path, target: Path) -> None:
    """Point ``link`` at ``target`` in one step."""
    fresh = link.with_name(".new-link")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.resolve())
    fresh.replace(link)


def conditions() -> dict[str, Any]:
    """Return what the figures hold under."""
    return {
        "budgets": f"log-uniform, {LEAST_BYTES} to {MOST_BYTES} bytes, seed {SEED}",
        "images": f"generated tiles of 224 px; 'large': six of {LARGE_PX[0]} x {LARGE_PX[1]}",
        "sampler_ms": 1000 * SAMPLE_S,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "load_1min_at_the_end": os.getloadavg()[0],
    }


def run_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Make the runs that are not done yet; return the lines of all."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    make_images(work / "images")
    log = work / "runs.jsonl"
    lines = [json.loads(t) for t in log.read_text().splitlines()] if log.exists() else []
    left = [n for n in range(options.runs) if n not in {line["number"] for line in lines}]
    if not left:
        return lines[: options.runs]
    fleet = Fleet(options.release)
    switch_link(work / "data", work / "images" / "tiles")
    with crowd() as group:
        box = BoxProcess(work, serve(fleet), work / "data", group)
        first = dataclasses.replace(CALM, number=-1)
        one_run(first, fleet, box, work, group)
        for number in left:
            lines.append(one_run(draw(number), fleet, box, work, group))
            with log.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(_brief(lines[-1]), file=sys.stderr)  # noqa: T201
        box.close()
    return lines


CALM = Conditions(
    number=-1,
    budget_bytes=MOST_BYTES,
    groups=True,
    plans="measured",
    images="tiles",
    hog="none",
    hog_bytes=0,
    crowded=False,
    hostile_bytes=0,
)


def _brief(line: dict[str, Any]) -> str:
    megabytes = f"{line['peak_bytes'] / 1e6:.0f} of {line['budget_bytes'] / 1e6:.0f} MB"
    return (
        f"{line['number']}: {ending(line)}, {megabytes}, over {line['over_least_ms']} ms, "
        f"down {len(line['steps_down'])}, unanswered {line['unanswered']} of {line['asked']}, "
        f"{line['seconds']} s"
    )


def main() -> None:
    """Read the options, run what is left, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--work", type=Path, default=Path("var/bench/caps"))
    parser.add_argument("--release", type=Path, default=Path("releases/starter"))
    lines = run_all(parser.parse_args())
    facts = {"figure": "the cap as a guarantee", **summary(lines), "conditions": conditions()}
    print(json.dumps(facts, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
