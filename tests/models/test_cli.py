import json

import pytest

from models.cli import main
from models.networks import build, parameter_count
from models.networks.registry import NETWORKS
from models.release import FILES_FOLDER
from models.starter import publish
from models.variant import VARIANT_FILE
from tests.models.points import point


@pytest.fixture
def refused(capsys):
    """Return a function that runs a command that must fail, and gives the one line it says."""

    def run(*arguments, code=1):
        assert main([str(argument) for argument in arguments]) == code
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert "Traceback" not in lines[0]
        return lines[0]

    return run


@pytest.fixture
def release(tiny, tmp_path):
    publish(tmp_path / "r", number=3, title="T", variants=[tiny], points=[point(variant="tiny")])
    return tmp_path / "r"


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0

    said = capsys.readouterr().out
    for name in (
        "networks",
        "generate",
        "train",
        "export",
        "measure",
        "release",
        "starter",
        "check",
        "report",
        "import-keras",
    ):
        assert name in said


def test_networks_lists_the_whole_registry(capsys):
    assert main(["networks"]) == 0

    said = capsys.readouterr().out
    assert all(name in said for name in NETWORKS)
    assert f"{parameter_count(build(NETWORKS['rx-2xs-064'])):,}" in said


def test_generate_draws_both_classes(tmp_path):
    out = tmp_path / "board"

    assert main(f"generate --out {out} --ok 3 --defect 2 --px 32".split()) == 0

    assert len(list((out / "ok").iterdir())) == 3
    assert len(list((out / "defect").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["board"]


def test_generate_draws_other_tiles_of_the_same_board_by_another_seed(tmp_path):
    for seed in (0, 1):
        main(
            f"generate --out {tmp_path / str(seed)} --ok 1 --defect 1 --px 32 --seed {seed}".split()
        )

    one, other = (next((tmp_path / s / "ok").iterdir()).read_bytes() for s in ("0", "1"))
    assert one != other


def test_generate_leaves_an_existing_folder_alone(tmp_path, refused):
    (tmp_path / "mine").touch()

    assert "name a folder that does not" in refused("generate", "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "bad", [["--px", "8"], ["--px", "9999"], ["--ok", "0"], ["--board", "-1"], ["--seed", "-1"],
            ["--px", "big"]],
)  # fmt: skip
def test_generate_refuses_figures_out_of_bounds_as_usage(tmp_path, capsys, bad):
    assert main(["generate", "--out", str(tmp_path / "b"), *bad]) == 2
    assert bad[0] in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_check_says_that_a_release_is_whole(release, capsys):
    assert main(["check", str(release)]) == 0

    assert "release 3 is whole" in " ".join(capsys.readouterr().out.split())


def test_check_names_the_file_that_is_not_what_it_says(release, refused):
    stored = next((release / FILES_FOLDER).iterdir())
    stored.write_bytes(stored.read_bytes()[:-1])

    said = refused("check", release)

    assert stored.name in said
    assert "does not match" in said


def test_check_says_where_there_is_no_release(tmp_path, refused):
    assert "no release here" in refused("check", tmp_path / "nowhere")


def test_check_says_in_one_line_what_is_wrong_with_a_release_file(release, refused):
    (release / "release.json").write_text('{"number": 0}')

    assert "not a release" in refused("check", release)


@pytest.mark.parametrize("command", ["train", "export"])
def test_a_network_that_is_not_in_the_starter_release_is_named(tmp_path, refused, command):
    where = {"train": "--work", "export": "--folder"}[command]

    said = refused(command, "--variant", "xception", where, tmp_path)

    assert "'xception' is not in the starter release; choose one of" in said
    assert list(tmp_path.iterdir()) == []


def test_export_says_where_there_are_no_weights(tmp_path, refused):
    assert "weights.safetensors" in refused(
        "export", "--variant", "rx-2xs-064", "--folder", tmp_path
    )


def test_export_says_that_weights_are_of_another_network(tiny, refused):
    folder = next(iter(tiny.paths.values())).parent

    said = refused("export", "--variant", "rx-2xs-064", "--folder", folder)

    assert "does not belong to this network" in said


def test_export_says_that_weights_are_torn(tmp_path, refused):
    (tmp_path / "weights.safetensors").write_bytes(b"torn")

    assert "error: " in refused("export", "--variant", "rx-2xs-064", "--folder", tmp_path)


def test_measure_says_that_nothing_was_exported(tmp_path, refused):
    said = refused(
        "measure", "--folder", tmp_path, "--boards", tmp_path, "--out", tmp_path / "points.json"
    )

    assert "export it again" in said


def test_measure_says_that_there_is_no_board(tiny, tmp_path, refused):
    folder = next(iter(tiny.paths.values())).parent

    said = refused(
        "measure", "--folder", folder, "--boards", tmp_path, "--out", tmp_path / "points.json",
        "--work", tmp_path / "work",
    )  # fmt: skip

    assert "holds no board" in said


def test_a_release_is_made_from_a_variant_and_its_points(tiny, tmp_path, capsys):
    points = tmp_path / "points.json"
    points.write_text(json.dumps([point(variant="tiny").model_dump(mode="json")]))
    folder = next(iter(tiny.paths.values())).parent

    made = main(
        ["release", "--out", str(tmp_path / "r"), "--number", "7", "--title", "Seventh",
         "--variant", str(folder), "--points", str(points)]
    )  # fmt: skip

    assert made == 0
    assert main(["check", str(tmp_path / "r")]) == 0
    assert "release 7 is whole" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("content", ["[{}]", "no json"])
def test_points_that_are_none_are_refused_in_one_line(tiny, tmp_path, refused, content):
    (tmp_path / "points.json").write_text(content)
    folder = next(iter(tiny.paths.values())).parent
    assert (folder / VARIANT_FILE).is_file()

    said = refused(
        "release", "--out", tmp_path / "r", "--number", "1", "--title", "T",
        "--variant", folder, "--points", tmp_path / "points.json",
    )  # fmt: skip

    assert said.startswith("error: ")
    assert not (tmp_path / "r").exists()


def test_an_existing_release_is_never_written_over(release, refused):
    said = refused("starter", "--out", release, "--work", release / "work")

    assert "immutable" in said
    assert not (release / "work").exists()


def test_an_unknown_command_is_a_usage_error(capsys):
    assert main(["bogus"]) == 2

    assert "No such command 'bogus'" in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 2

    said = capsys.readouterr()
    assert "networks" in said.out + said.err
