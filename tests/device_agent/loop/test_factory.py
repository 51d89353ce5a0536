"""The factory model: installed from a release folder, served until an update succeeds."""

import hashlib
import json
import os

import pytest
from typer.testing import CliRunner

from contract.release import Release
from device_agent.cli import app
from device_agent.disk.paths import StatePaths, lock_state
from device_agent.disk.shelf import Shelf
from device_agent.errors import BadReleaseError
from device_agent.loop.factory import install_factory
from device_agent.loop.steps import clear
from device_agent.serving.predict import Predictor
from tests.device_agent.conftest import image_bytes
from tests.device_agent.fleet import FILES, point, variant

MADE_AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def folder(tmp_path):
    """A release folder as the lab writes it, with one small network."""
    release = Release(
        number=1, title="first", task="pcb", made_by="lab", variants=(variant(),), points=(point(),)
    )
    target = tmp_path / "release"
    (target / "files").mkdir(parents=True)
    (target / "release.json").write_text(release.model_dump_json())
    for data in FILES.values():
        (target / "files" / hashlib.sha256(data).hexdigest()).write_bytes(data)
    return target


@pytest.fixture
def paths(settings):
    found = StatePaths(settings.state)
    found.make()
    return found


def install(folder, paths, name="xcep-tiny", trouble=None):
    return install_factory(folder, name, paths, lambda *_: trouble, MADE_AT)


def predict(paths):
    return Predictor(Shelf(paths), lambda: None, None).predict(image_bytes(220))


def call(*arguments):
    return CliRunner().invoke(app, ["factory", *map(str, arguments)])


def network(folder):
    return folder / "files" / variant().inference.sha256


def test_it_serves_before_the_box_ever_heard_of_a_server(folder, paths):
    manifest = install(folder, paths)

    assert predict(paths).label == "defect"
    assert Shelf(paths).active_id() is None
    assert (manifest.balanced_accuracy, manifest.n_test) == (None, 0), "nobody measured it here"


def test_the_command_tries_it_in_a_child_and_says_what_serves(folder, settings):
    done = call(folder, "xcep-tiny", "--state", settings.state, "--json")

    facts = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 0, done.output
    assert facts["model_id"].startswith("factory-r1-xcep-tiny-")
    assert facts["balanced_accuracy"] is None


@pytest.mark.parametrize(
    ("mode", "status"), [("poor", "below_floor"), ("diverged", "refused"), ("crash", "refused")]
)
def test_a_first_update_that_fails_leaves_it_serving(
    folder, paths, fleet, open_box, mode, status
):  # fmt: skip
    factory = install(folder, paths)
    fleet.points = [point("xcep-other")]

    assert open_box(mode).run_once() == "idle"

    assert fleet.outcomes()[0].status == status
    assert Shelf(paths).active_id() is None
    assert Shelf(paths).candidates() == [factory.model_id]
    assert predict(paths).variant == "xcep-tiny"


def test_a_first_update_takes_over_and_can_be_rolled_back_to_the_factory(
    folder, paths, fleet, open_box
):
    factory = install(folder, paths)
    fleet.points = [point("xcep-other")]
    agent = open_box()
    assert agent.run_once() == "active"
    assert predict(paths).variant == "xcep-other"
    done = CliRunner().invoke(app, ["rollback", "--state", str(paths.root), "--json"])
    assert json.loads(done.stdout.splitlines()[-1])["serving"] == factory.model_id
    assert agent.run_once() == "rolled_back"
    assert predict(paths).variant == "xcep-tiny"
    assert fleet.outcomes()[-1].balanced_accuracy_after is None


def test_it_is_never_cleared(folder, paths, fleet, open_box):
    factory = install(folder, paths)
    agent = open_box()
    for number in range(3):
        fleet.points, fleet.generation = [point(f"xcep-{number}")], number + 2
        assert agent.run_once() == "active"
        clear(agent.box, agent.state)

    assert Shelf(paths).verified(factory.model_id)[0] == factory
    assert len(list(paths.models.iterdir())) == 3


def test_another_one_takes_its_place(folder, paths):
    first = install(folder, paths)
    release = json.loads((folder / "release.json").read_text())
    release["number"] = 2
    (folder / "release.json").write_text(json.dumps(release))

    second = install(folder, paths)

    assert Shelf(paths).collect(set()) == [first.model_id]
    assert Shelf(paths).candidates() == [second.model_id]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path):
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, lambda path: path.unlink()])
def test_a_damaged_network_is_refused_by_name(folder, paths, damage):
    damage(network(folder))

    with pytest.raises(BadReleaseError, match=network(folder).name):
        install(folder, paths)
    assert Shelf(paths).candidates() == []
    assert list(paths.models.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"number": 1}', "\x00"])
def test_a_damaged_release_is_refused_by_name(folder, paths, content):
    (folder / "release.json").write_text(content)

    with pytest.raises(BadReleaseError, match=r"release\.json"):
        install(folder, paths)


def test_a_folder_that_is_no_release_and_a_network_it_lacks_end_with_code_2(tmp_path, folder):
    assert call(tmp_path, "xcep-tiny", "--state", tmp_path / "s").exit_code == 2
    done = call(folder, "xcep-huge", "--state", tmp_path / "s")

    assert done.exit_code == 2
    assert "it has xcep-tiny" in done.output


def test_a_network_that_does_not_run_here_is_refused(folder, paths):
    with pytest.raises(BadReleaseError, match="it hung"):
        install(folder, paths, trouble="it hung")
    assert Shelf(paths).factory_id() is None


def test_a_running_agent_is_not_disturbed(folder, paths):
    lock = lock_state(paths)
    done = call(folder, "xcep-tiny", "--state", paths.root)
    os.close(lock)

    assert done.exit_code == 8
    assert "another agent runs" in done.output
