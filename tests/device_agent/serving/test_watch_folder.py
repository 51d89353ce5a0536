"""A watched folder: only settled images, once each, whatever crashes; answers beside them."""

import json
import os
from pathlib import Path

import pytest

from contract.inference import Prediction
from device_agent.errors import BadImageError, DiskFullError, NoPredictionError
from device_agent.loop.world import World
from device_agent.serving import watch_folder
from device_agent.serving.predict import Predictor
from device_agent.serving.watch_folder import FolderWatch, WatchThread
from tests.device_agent.conftest import image_bytes
from tests.device_agent.desk import NoCloud, Notes, keeping_policy, make_shelf, put
from tests.device_agent.fleet import cloud_prediction, tiny_model


class Judge:
    """Says ``defect`` of what begins with D, cannot read what begins with X; may be helpless."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.trouble: Exception | None = None

    def __call__(self, image: bytes) -> Prediction:
        if self.trouble:
            raise self.trouble
        self.seen.append(image)
        if image.startswith(b"X"):
            raise BadImageError("this is no image")
        label = "defect" if image.startswith(b"D") else "ok"
        return Prediction.model_validate(cloud_prediction() | {"label": label})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "watched"
    made.mkdir()
    return made


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def watch(folder, judge, notes) -> FolderWatch:
    return FolderWatch(folder, judge, notes.note)


def answer(path: Path) -> dict[str, object]:
    return json.loads(path.with_name(f"{path.name}.json").read_bytes())


def test_an_image_is_judged_once_it_looked_the_same_twice(folder, watch, judge, notes):
    image = folder / "a.png"
    image.write_bytes(b"D")
    assert watch.look() == 0
    image.write_bytes(b"De")
    assert watch.look() == 0, "it grew meanwhile"
    assert watch.look() == 1
    assert watch.look() == 0

    said = answer(image)
    assert (said["image"], said["label"], said["size_bytes"]) == ("a.png", "defect", 2)
    assert said["probabilities"] == {"ok": 0.9, "defect": 0.1}
    assert judge.seen == [b"De"]
    assert len(notes) == 1


def test_a_restart_judges_nothing_twice(folder, watch, judge, notes):
    (folder / "a.png").write_bytes(b"D")
    watch.look(), watch.look()
    again = FolderWatch(folder, judge, notes.note)
    again.look(), again.look(), again.look()

    assert judge.seen == [b"D"]


def test_an_image_that_is_replaced_is_judged_anew(folder, watch, judge):
    image = folder / "a.png"
    for content, time_ns in ((b"D", 10**9), (b"O", 2 * 10**9)):
        image.write_bytes(content)
        os.utime(image, ns=(time_ns, time_ns))
        watch.look(), watch.look()

    assert judge.seen == [b"D", b"O"]
    assert answer(image)["label"] == "ok"


def test_what_cannot_be_read_gets_an_answer_with_the_reason(folder, watch, notes):
    (folder / "a.png").write_bytes(b"X")
    large = folder / "large.png"
    large.touch()
    os.truncate(large, 20_000_001)
    watch.look(), watch.look()

    assert answer(folder / "a.png")["error"] == "this is no image"
    assert "at most 20000000" in answer(large)["error"]
    assert notes == []
    assert watch.look() == 0


def test_what_is_no_plain_image_is_passed_over(folder, watch, judge, tmp_path):
    (tmp_path / "outside.png").write_bytes(b"D")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    os.mkfifo(folder / "pipe.png")
    (folder / ".hidden.png").write_bytes(b"D")
    (folder / "notes.txt").write_bytes(b"D")
    (folder / "folder.png").mkdir()
    watch.look(), watch.look()

    assert judge.seen == []
    assert list(folder.glob("*.json")) == []


def test_a_round_judges_so_many_and_the_next_goes_on(folder, watch, judge, monkeypatch):
    monkeypatch.setattr(watch_folder, "MOST_A_ROUND", 2)
    for number in range(5):
        (folder / f"{number}.png").write_bytes(b"D")
    watch.look()

    assert [watch.look() for _ in range(4)] == [2, 2, 1, 0]
    assert len(judge.seen) == 5


def test_while_no_model_answers_images_wait(folder, watch, judge):
    (folder / "a.png").write_bytes(b"D")
    judge.trouble = NoPredictionError("no model is active")
    watch.look_quietly()
    assert watch.look_quietly() == 0
    with pytest.raises(NoPredictionError):
        watch.look()
    assert not (folder / "a.png.json").exists()
    judge.trouble = None

    assert watch.look_quietly() == 1


def test_a_folder_that_is_gone_is_waited_for(folder, watch):
    folder.rmdir()
    assert watch.look_quietly() == 0
    folder.mkdir()
    (folder / "a.png").write_bytes(b"D")
    watch.look_quietly()

    assert watch.look_quietly() == 1


def test_a_full_disk_loses_no_image(folder, watch, monkeypatch):
    (folder / "a.png").write_bytes(b"D")
    watch.look()

    def full(path: Path, _: bytes) -> None:
        raise DiskFullError(path)

    with monkeypatch.context() as patch:
        patch.setattr(watch_folder, "write_atomic", full)
        assert watch.look_quietly() == 0
    assert watch.look_quietly() == 1
    assert answer(folder / "a.png")["label"] == "defect"


def test_sorted_images_move_with_their_answers(folder, judge, notes):
    watch = FolderWatch(folder, judge, notes.note, sort=True)
    for name, content in (("a.png", b"D1"), ("b.png", b"O"), ("c.png", b"X")):
        (folder / name).write_bytes(content)
    watch.look(), watch.look()
    (folder / "a.png").write_bytes(b"D2, the camera uses its name again")
    watch.look(), watch.look()

    assert (folder / "defect/a.png").read_bytes() == b"D1"
    assert (folder / "defect/a-1.png").read_bytes().startswith(b"D2")
    assert answer(folder / "defect/a-1.png")["image"] == "a.png"
    assert (folder / "ok/b.png").read_bytes() == b"O"
    assert answer(folder / "c.png")["error"]
    assert sorted(p.name for p in folder.iterdir()) == ["c.png", "c.png.json", "defect", "ok"]


def test_a_crash_between_answer_and_move_is_gone_on_from(folder, judge, notes, monkeypatch):
    (folder / "a.png").write_bytes(b"D")
    watch = FolderWatch(folder, judge, notes.note, sort=True)
    watch.look()
    with monkeypatch.context() as patch:
        patch.setattr(FolderWatch, "_move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            watch.look()
    assert (folder / "defect/a.png.json").exists()

    restarted = FolderWatch(folder, judge, notes.note, sort=True)
    restarted.look(), restarted.look()

    assert (folder / "defect/a.png").read_bytes() == b"D"
    assert judge.seen == [b"D"]
    assert not (folder / "a.png").exists()


def test_a_real_model_judges_until_the_agent_stops(folder, notes, tmp_path):
    shelf = make_shelf(tmp_path / "state")
    put(shelf, "one", tiny_model())
    for name, level in (("bright.png", 220), ("dark.png", 20)):
        (folder / name).write_bytes(image_bytes(level))
    predictor = Predictor(shelf, keeping_policy, NoCloud())
    waits: list[float] = []
    world = World(
        sleep=lambda seconds: (waits.append(seconds), len(waits) > 3 and world.stop.set())
    )
    thread = WatchThread(FolderWatch(folder, predictor.predict, notes.note), world)
    thread.start()
    world.stop.wait(20)
    thread.close()

    assert answer(folder / "bright.png")["label"] == "defect"
    assert answer(folder / "dark.png")["label"] == "ok"
    assert len(notes) == 2
    assert min(waits) >= watch_folder.LOOK_EVERY_S


def test_a_run_that_ends_by_itself_judges_what_lies_there_first(folder, watch, judge):
    for number in range(3):
        (folder / f"{number}.png").write_bytes(b"O")
    thread = WatchThread(watch, World(sleep=lambda _: None))

    thread.finish()

    assert len(judge.seen) == 3
