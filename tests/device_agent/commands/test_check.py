"""``device_agent check``: the table, the sheet, the quarantine, the exit code."""

import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from device_agent.cli import app
from tests.device_agent.fleet import PX
from tests.device_agent.quality.pictures import write_folder


def call(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def facts(*arguments):
    return json.loads(call(*arguments, "--json").stdout)


@pytest.fixture
def images(tmp_path):
    """Fifty different pictures of each class, and one copy."""
    folder = write_folder(tmp_path / "images", n_ok=50, n_defect=50)
    shutil.copy(folder / "ok" / "000.png", folder / "ok" / "copy.png")
    return folder


@pytest.fixture
def state(tmp_path):
    return tmp_path / "no-state"


def test_enough_images_end_with_0_and_a_table(images, state):
    result = call(images, "--state", state)

    assert result.exit_code == 0
    assert "duplicate" in result.stdout
    assert "copy.png" in result.stdout
    assert "Enough images." in result.stdout
    assert "there is no network on this box yet" in " ".join(result.stdout.split())
    assert not state.exists()


def test_too_few_end_with_3_and_say_how_many_more_of_what(images, state):
    for path in sorted((images / "defect").iterdir())[:34]:
        path.unlink()

    result = call(images, "--state", state)

    assert result.exit_code == 3
    text = " ".join(result.stdout.split())
    assert "Not enough: Add 34 images to defect: 16 of 50 usable" in text


def test_json_names_every_finding(images, state):
    answer = facts(images, "--state", state)

    assert answer["enough"] is True
    assert answer["findings"] == {"duplicate": 1}
    (finding,) = answer["images"]
    assert (finding["image"], finding["other"]) == ("ok/copy.png", "ok/000.png")
    assert answer["classes"][0] == {"label": "ok", "found": 51, "usable": 50}


def test_the_data_setting_is_looked_at_where_no_folder_is_named(images, state, monkeypatch):
    monkeypatch.setenv("PARETOFLEET_AGENT_DATA", str(images))

    assert facts("--state", state)["classes"][0]["found"] == 51


def test_without_any_folder_it_says_so(state):
    result = call("--state", state)

    assert result.exit_code == 3
    assert "name the folder" in result.output


def test_a_folder_that_is_not_there_is_code_3(tmp_path, state):
    result = call(tmp_path / "nowhere", "--state", state)

    assert result.exit_code == 3
    assert "no folder" in result.output


def test_test_images_are_looked_at_too(images, tmp_path, state):
    test = write_folder(tmp_path / "test", n_ok=12, n_defect=12)

    answer = facts(images, "--test-data", test, "--state", state)

    assert answer["findings"]["across_split"] == 24
    assert answer["enough"] is False
    assert "Add 10 images to ok of --test-data: 0 of 10 usable" in answer["advice"]


def test_the_sheet_is_written_only_when_asked_for(images, tmp_path, state):
    call(images, "--state", state)
    assert not list(tmp_path.glob("*.png"))

    result = call(images, "--state", state, "--sheet", tmp_path / "sheet.png")

    assert "sheet.png" in result.stdout
    with Image.open(tmp_path / "sheet.png") as page:
        assert page.format == "PNG"


def test_nothing_moves_without_being_told_and_all_comes_back(images, tmp_path, state):
    before = sorted(images.rglob("*"))
    call(images, "--state", state, "--sheet", tmp_path / "s.png")
    assert sorted(images.rglob("*")) == before

    answer = facts(images, "--state", state, "--quarantine", tmp_path / "away")
    assert [m["kept_as"] for m in answer["moved"]] == ["data/ok/copy.png"]
    assert not (images / "ok" / "copy.png").exists()

    result = call("--restore", tmp_path / "away", "--state", state)
    assert result.exit_code == 0
    assert "1 put back" in result.stdout
    assert sorted(images.rglob("*")) == before


def test_only_the_kinds_that_are_named_move(images, tmp_path, state):
    away = tmp_path / "away"

    answer = facts(images, "--state", state, "--quarantine", away, "--kind", "near_duplicate")

    assert answer["moved"] == []
    result = call(images, "--state", state, "--quarantine", away, "--kind", "ugly")
    assert result.exit_code == 2
    assert "near_duplicate" in " ".join(result.output.split())


def test_a_folder_that_is_no_quarantine_is_code_2(tmp_path, state):
    result = call("--restore", tmp_path, "--state", state)

    assert result.exit_code == 2
    assert "no quarantine" in " ".join(result.output.split())


def test_a_box_with_an_assignment_judges_labels_too(stopped_box, tmp_path):
    """The fleet's little network sees brightness: one bright image stands among the dark ones."""
    for label, level in (("ok", 20), ("defect", 180)):
        (tmp_path / "grey" / label).mkdir(parents=True)
        for number in range(12):
            shade = (level + 4 * number,) * 3
            Image.new("RGB", (PX, PX), shade).save(tmp_path / "grey" / label / f"{number}.png")
    Image.new("RGB", (PX, PX), (231,) * 3).save(tmp_path / "grey" / "ok" / "odd.png")

    answer = facts(tmp_path / "grey", "--state", stopped_box)

    assert answer["labels"]["n_judged"] == 25
    assert [i["image"] for i in answer["images"]] == ["ok/odd.png"]
    text = " ".join(call(tmp_path / "grey", "--state", stopped_box).stdout.split())
    assert "25 labels were judged by a classifier" in text
