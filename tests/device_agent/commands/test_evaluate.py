"""``device_agent evaluate``: a labelled folder judged by a real, tiny model."""

import hashlib
import json
import shutil

import pytest
from typer.testing import CliRunner

from device_agent.cli import app
from device_agent.disk.paths import StatePaths
from device_agent.disk.shelf import Shelf
from device_agent.loop.box import data_key
from tests.device_agent.conftest import image_bytes


@pytest.fixture
def box(stopped_box):
    """A state folder whose active model calls bright images defects."""
    return stopped_box


@pytest.fixture
def mixed(tmp_path):
    """Four of five ok images are dark, three of four defects bright; one file is no image."""
    levels = {"ok": (20, 30, 40, 50, 220), "defect": (200, 210, 220, 30)}
    for name, values in levels.items():
        (tmp_path / "mixed" / name).mkdir(parents=True)
        for number, level in enumerate(values):
            (tmp_path / "mixed" / name / f"{number}.png").write_bytes(image_bytes(level))
    (tmp_path / "mixed" / "ok" / "bad.png").write_bytes(b"no image")
    (tmp_path / "mixed" / "ok" / "notes.txt").write_bytes(b"no image either")
    return tmp_path / "mixed"


def call(state, folder, *arguments):
    return CliRunner().invoke(app, ["evaluate", str(folder), "--state", str(state), *arguments])


def facts_of(state, folder, *arguments):
    result = call(state, folder, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_counts_what_the_model_says(box, mixed):
    facts = facts_of(box, mixed)

    assert facts["n"] == {"ok": 5, "defect": 4}
    assert facts["confusion"] == {"ok": {"ok": 4, "defect": 1}, "defect": {"ok": 1, "defect": 3}}
    assert facts["balanced_accuracy"] == pytest.approx((4 / 5 + 3 / 4) / 2)
    low, high = facts["interval_95"]
    assert 0.4 < low < facts["balanced_accuracy"] < high < 1
    assert facts["auc"] == pytest.approx(14 / 20)
    assert facts["latency_ms_p99"] >= facts["latency_ms_p50"] > 0
    assert facts["unreadable"] == [str(mixed / "ok" / "bad.png")]
    assert facts["seen"] == "unknown"


def test_people_read_the_same(box, mixed):
    text = call(box, mixed).stdout

    assert "5 ok and 4 defect images" in text
    assert "balanced accuracy  0.775 (95 %: " in text
    assert "ok taken for ok    4, for defect 1" in text
    assert "not readable       1" in text
    assert "not known" in text


def test_it_leaves_nothing_behind(box, mixed):
    def snapshot():
        return {
            str(p): (p.lstat().st_mtime_ns,
                     hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "")
            for p in [*box.rglob("*"), *mixed.rglob("*")]
        }  # fmt: skip

    before = snapshot()
    facts_of(box, mixed)
    assert snapshot() == before


def test_it_says_so_where_the_model_was_trained_on_the_folder(box, data):
    assert facts_of(box, data)["seen"] == "trained_on"
    assert "flatters" in call(box, data).stdout


def test_it_says_so_where_the_model_was_chosen_by_the_folder(box, data, mixed):
    shelf = Shelf(StatePaths(box))
    manifest = shelf.manifest(shelf.active_id())
    changed = manifest.model_copy(update={"data_key": data_key(data, mixed)})
    path = shelf.folder(manifest.model_id) / "manifest.json"
    path.write_text(changed.model_dump_json())
    given = {"PARETOFLEET_AGENT_DATA": str(data)}
    result = CliRunner().invoke(
        app, ["evaluate", str(mixed), "--state", str(box), "--json"], env=given
    )

    assert json.loads(result.stdout)["seen"] == "judged_on"


def test_another_model_can_be_named(box, mixed):
    shelf = Shelf(StatePaths(box))
    active = shelf.active_id()
    for name in (active, "active"):
        assert facts_of(box, mixed, "--model", name)["model_id"] == active
    (box / "previous").symlink_to(f"models/{active}")
    assert facts_of(box, mixed, "--model", "previous")["model_id"] == active


@pytest.mark.parametrize("name", ["factory", "no-such", "../models", ".."])
def test_a_model_that_is_not_there_is_code_9(box, mixed, name):
    result = call(box, mixed, "--model", name)

    assert result.exit_code == 9
    assert "no model" in result.stderr


def test_a_damaged_model_is_not_asked(box, mixed):
    shelf = Shelf(StatePaths(box))
    (shelf.folder(shelf.active_id()) / "model.onnx").write_bytes(b"damaged")
    result = call(box, mixed)

    assert result.exit_code == 4
    assert "damaged" in result.stderr


def test_a_folder_without_a_class_is_code_3(box, mixed):
    shutil.rmtree(mixed / "defect")
    assert call(box, mixed).exit_code == 3
    assert call(box, mixed / "nowhere").exit_code == 3
