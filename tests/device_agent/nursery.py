"""Many short lives of one real agent, each killed: ``nursery.py FOLDER SEED KILLS FIRST_MARK``.

Everything is imported once; a life is a fork of this process, so it costs milliseconds instead of
a new interpreter. The server is a process of its own, behind a real socket. A box goes through
four phases, and through as many lives in each as it takes: its first model over the factory
model, an update, a rollback, its undoing. In each phase the first life of box number i dies at
the mark FIRST_MARK + i (modulo how many there are), the later lives die anywhere.
After every death what lies on the disk is checked.
Prints one JSON object; the first broken promise ends it with an AssertionError.
"""

import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import structlog

from contract.report import OutcomeBody
from device_agent.assemble import open_agent
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Manifest, Shelf
from device_agent.loop.rollback import ask
from device_agent.loop.state import StateStore
from device_agent.loop.world import World
from device_agent.server.outbox import Outbox
from device_agent.settings import AgentSettings
from device_agent.training.trainer import Trainer
from tests.device_agent.conftest import fine_images, make_profile
from tests.device_agent.fleet import ENROL_TOKEN
from tests.device_agent.nursery_server import BYTES, FACTORY, NEW, OLD, SHA, Server, start_server

TRAINER = Path(__file__).with_name("counting_trainer.py")
MARKS_AHEAD, EFFECTS_AHEAD = 6, 60
EFFECTS = {
    "fchmod", "flock", "flush", "fsync", "mkdir", "open", "rename", "replace", "rmdir", "symlink",
    "truncate", "unlink", "write", "execute", "executemany",
}  # fmt: skip
BOXES = 5
"""At least so many, so that four runs of this program have one die at every mark."""
PHASE_SECONDS = {"first": 0.25, "update": 0.25, "rollback": 0.05, "undo": 0.05}
LONGEST_LIFE_S = 60.0


def countdown(n):
    """Return what kills this process when it is called for the ``n``-th time (0: never)."""
    left = n

    def count():
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


@dataclass
class Box:
    """One state folder and what has been true of it so far."""

    folder: Path
    server: Server
    chance: Random
    deaths: Counter = field(default_factory=Counter)
    steps: Counter = field(default_factory=Counter)
    first_mark: int = 0
    marks: dict = field(default_factory=dict)

    @property
    def paths(self):
        return StatePaths(self.folder / "state")

    @property
    def log(self):
        return self.folder / "trainer.log"

    def install_factory(self):
        self.paths.make()
        source = self.folder / "factory.onnx"
        source.write_bytes(BYTES[FACTORY])
        manifest = Manifest(
            model_id="factory", variant=FACTORY, classes=("ok", "defect"), input_px=32,
            in_channels=3, sha256=SHA[FACTORY], length_bytes=len(BYTES[FACTORY]), release_number=1,
            point_key="factory", balanced_accuracy=None, n_test=0, data_key="none", artifacts=(),
            made_at="2026-01-01T00:00:00Z",
        )  # fmt: skip
        Shelf(self.paths).install(source, manifest)
        Shelf(self.paths).set_factory("factory")

    def live_shortly(self, phase):
        """One life that ends anywhere; returns whether it was killed."""
        how = self.chance.choice(("mark", "effect", "time"))
        if how == "mark":
            return self.live(phase, n_marks=self.chance.randint(1, MARKS_AHEAD))
        if how == "effect":
            return self.live(phase, n_effects=self.chance.randint(1, EFFECTS_AHEAD))
        return self.live(phase, within_s=PHASE_SECONDS[phase] * self.chance.random())

    def live(self, phase, *, n_marks=0, n_effects=0, within_s=None):
        """One life; returns whether it was killed.

        It dies at its n-th mark, or just before it touches the disk for the n-th time, or after
        some time; with none of these it lives until the box has settled.
        """
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            self.be_a_copy(n_marks, n_effects)
        ended = os.pidfd_open(pid)
        if not select.select([ended], [], [], LONGEST_LIFE_S if within_s is None else within_s)[0]:
            os.kill(pid, signal.SIGKILL)
        os.close(ended)
        status = os.waitpid(pid, 0)[1]
        assert time.monotonic() - start < LONGEST_LIFE_S
        killed = os.WIFSIGNALED(status)
        assert killed or os.waitstatus_to_exitcode(status) == 0, (self.folder / "err").read_text()
        if killed:
            how = "at a mark" if n_marks else "at an effect" if n_effects else "at some time"
            self.deaths[f"{phase} {how}"] += 1
        return killed

    def be_the_agent(self, mark):
        """Run the agent until it settles."""
        settings = AgentSettings(
            server=f"http://127.0.0.1:{self.server.port}", data=self.folder,
            state=self.paths.root, enrol_token=ENROL_TOKEN, name="box",
        )  # fmt: skip
        command = (sys.executable, "-S", "-E", str(TRAINER), str(self.log))
        with open_agent(
            settings, world=World(mark=mark), profile=make_profile,
            try_model=lambda *_: None, trainer=Trainer(command=command),
            look_at_data=lambda *_: fine_images(),
        ) as agent:  # fmt: skip
            agent.run_once()

    def be_a_copy(self, n_marks, n_effects):
        """Run the agent in a forked copy until it settles or dies; never returns."""
        at_mark, at_effect = countdown(n_marks), countdown(n_effects)

        def watch(_, event, function):
            if event == "c_call" and function.__name__ in EFFECTS:
                at_effect()

        code = 1
        try:
            sys.setprofile(watch if n_effects else None)
            self.be_the_agent(lambda _: at_mark())
            code = 0
        except BaseException:  # noqa: BLE001 - the parent shows it
            (self.folder / "err").write_text(traceback.format_exc())
        finally:
            os._exit(code)

    def check(self, phase, serving, before):
        """Hold what lies on the disk against every promise."""
        shelf = Shelf(self.paths)
        manifest, _ = shelf.verified(shelf.candidates()[0])
        assert manifest.variant in serving, (phase, manifest.variant)
        assert manifest.sha256 == SHA[manifest.variant]
        for model_id in shelf.pinned():
            shelf.verified(model_id)
        assert phase == "first" or shelf.active_id() is not None
        self.steps[StateStore(self.paths).load().step] += 1
        self.check_training(before)
        self.check_reports(phase)

    def check_training(self, before):
        saved, finished = set(), False
        for line in self.lines()[before:]:
            what, job_id, epoch = line.split()
            if what == "train":
                assert (job_id, epoch) not in saved, f"epoch {epoch} was trained again"
                assert not finished or job_id.endswith("-dry"), "a finished training was repeated"
            saved |= {(job_id, epoch)} if what == "saved" else set()
            finished |= what == "finished" and not job_id.endswith("-dry")

    def lines(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def check_reports(self, phase):
        """Each report once: by key, by number, and one outcome for each thing that happened."""
        received = self.server.reports()
        numbers = {}
        for report in received:
            assert numbers.setdefault(report.key, report.sequence) == report.sequence
        first_seen = list(numbers.values())
        assert first_seen == sorted(set(first_seen)), "reports came out of order"
        with Outbox(self.paths.outbox, first_sequence=1) as outbox:
            batch = outbox.batch()
        waiting = list(batch.reports) if batch else []
        assert len({r.key for r in waiting}) == len(waiting)
        every = {r.key: r for r in [*received, *waiting]}.values()
        outcomes = Counter(r.body.status for r in every if isinstance(r.body, OutcomeBody))
        most = {"first": (1, 0), "update": (2, 0), "rollback": (2, 1), "undo": (3, 1)}[phase]
        assert outcomes["activated"] <= most[0], outcomes
        assert outcomes["rolled_back"] <= most[1], outcomes
        assert not set(outcomes) - {"activated", "rolled_back"}, outcomes
        return outcomes

    def phase(self, name, *, serving, ends, trains):
        """Live and die until the box settles; then it must be what it should."""
        before = len(self.lines())
        died = self.live(name, n_marks=1 + self.first_mark % self.marks[name])
        assert died, "every mark is reached"
        while died:
            self.check(name, serving, before)
            died = self.live_shortly(name)
        assert not self.live(name)
        self.check(name, {ends[1]}, before)
        state, shelf = StateStore(self.paths).load(), Shelf(self.paths)
        assert (state.step, shelf.manifest(shelf.active_id()).variant) == ends
        assert not self.paths.rollback.exists()
        with Outbox(self.paths.outbox, first_sequence=1) as outbox:
            assert len(outbox) == 0
        done = [line for line in self.lines()[before:] if line.startswith("finished")]
        real = {line for line in done if not line.split()[1].endswith("-dry")}
        assert len(real) <= trains
        assert trains or len(self.lines()) == before

    def phases(self):
        """Yield the four phases, each with its orders given."""
        self.install_factory()
        self.server.ask("orders", OLD)
        yield "first"
        self.server.ask("orders", NEW)
        yield "update"
        ask(self.paths, "previous", "a person said so")
        yield "rollback"
        ask(self.paths, "undo", "a person said so")
        yield "undo"

    def grow_up(self):
        """Go through the four phases."""
        for name in self.phases():
            self.phase(name, **PHASES[name])
        outcomes = self.check_reports("undo")
        assert outcomes == {"activated": 3, "rolled_back": 1}, outcomes


PHASES = {
    "first": {"serving": {FACTORY, OLD}, "ends": ("active", OLD), "trains": 1},
    "update": {"serving": {OLD, NEW}, "ends": ("active", NEW), "trains": 1},
    "rollback": {"serving": {OLD}, "ends": ("rolled_back", OLD), "trains": 0},
    "undo": {"serving": {NEW}, "ends": ("active", NEW), "trains": 0},
}


def warm_up(folder, server):
    """One box that nobody kills, in this process: every later life finds loaded what it needs.

    Returns the number of marks in each phase.
    """
    folder.mkdir()
    box, marks = Box(folder, server, Random(0)), {}  # noqa: S311 - not a secret
    for phase in box.phases():
        seen = []
        box.be_the_agent(seen.append)
        marks[phase] = len(seen)
    assert threading.active_count() == 1, "a process with threads must not be copied"
    gc.collect()
    gc.freeze()
    return marks


def main(folder, seed, kills, first_mark):
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    chance, deaths, steps = Random(seed), Counter(), Counter()  # noqa: S311 - a schedule, not a secret
    server, start, n_boxes = start_server(), time.monotonic(), 0
    try:
        marks = warm_up(folder / "warm", server)
        while sum(deaths.values()) < kills or n_boxes < BOXES:
            n_boxes += 1
            box = Box(folder / f"box-{n_boxes}", server, chance, deaths, steps)
            box.first_mark, box.marks = first_mark + n_boxes - 1, marks
            box.folder.mkdir()
            box.grow_up()
            shutil.rmtree(box.folder)
    finally:
        os.kill(server.pid, signal.SIGKILL)
        os.waitpid(server.pid, 0)
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    facts = {
        "kills": sum(deaths.values()),
        "boxes": n_boxes,
        "where": dict(deaths),
        "steps": dict(steps),
        "marks": marks,
        "seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(sum(u.ru_utime + u.ru_stime for u in usage), 1),
    }
    print(json.dumps(facts))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(number) for number in sys.argv[2:]))
