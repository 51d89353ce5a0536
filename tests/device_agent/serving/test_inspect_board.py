"""A whole board through ``device_agent inspect``: boxes that can be checked to the pixel."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from device_agent.cli import app
from device_agent.disk.shelf import MODEL
from device_agent.errors import BadImageError
from device_agent.serving.batches import batch_for
from device_agent.serving.board import open_board
from device_agent.serving.inspect_board import Manner, free_bytes, inspect_board, score_of
from device_agent.serving.predict import Predictor
from device_agent.serving.runtime import FallingBackSession, open_session
from device_agent.serving.tiling import Box
from models.data.generator import generate_tile
from tests.device_agent.desk import (
    NoCloud,
    keeping_policy,
    make_shelf,
    put,
    red_model,
    starter_model,
)

SIDE = 32
PLENTY = 10**9


class Counting:
    """Shows no bar; adds up what was told."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0

    @contextlib.contextmanager
    def __call__(self, total: int, what: str):
        assert what == "tiles"
        self.total = total

        def advance(done: int) -> None:
            self.done += done

        yield advance


@pytest.fixture
def shelf(tmp_path):
    return make_shelf(tmp_path / "state")


def red_board(path, *places, size=(200, 130)):
    """A green board with single red pixels."""
    pixels = np.full((size[1], size[0], 3), (10, 90, 40), np.uint8)
    for x, y in places:
        pixels[y, x] = (255, 0, 0)
    Image.fromarray(pixels).save(path)


def look(shelf, path, free=PLENTY, **manner):
    show = Counting()
    with open_board(path, PLENTY) as board:
        inspection = Predictor(shelf, keeping_policy, NoCloud()).locally(
            lambda model: inspect_board(model, board, Manner(**manner), free, show)
        )
    assert show.done == show.total
    return inspection


def test_without_overlap_a_box_is_the_tile_of_the_defect(shelf, tmp_path):
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png", (40, 70))
    found = look(shelf, tmp_path / "b.png", overlap=0.0).found

    assert [finding.box for finding in found] == [Box(32, 64, 64, 96)]
    assert found[0].score > 0.99


@pytest.mark.parametrize(("merge", "box"), [("max", Box(16, 48, 64, 96)),
                                            ("mean", Box(32, 64, 48, 80))])  # fmt: skip
def test_with_overlap_the_mean_of_tiles_is_tighter_than_the_largest(shelf, tmp_path, merge, box):
    """Half-overlapping tiles from 16 to 48 and 32 to 64 see x = 40; those at 48 and 64 y = 70."""
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png", (40, 70))

    inspection = look(shelf, tmp_path / "b.png", merge=merge, threshold=0.9)

    assert [finding.box for finding in inspection.found] == [box]


def test_defects_far_apart_have_boxes_of_their_own_and_near_ones_share_one(shelf, tmp_path):
    """The last tiles of 200 x 130 pixels begin at 168 and 98: two of each side see (180, 120)."""
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png", (5, 5), (180, 120), (150, 10), (165, 10))
    found = look(shelf, tmp_path / "b.png", overlap=0.0).found

    assert {finding.box for finding in found} == {
        Box(0, 0, 32, 32),
        Box(128, 0, 192, 32),
        Box(160, 96, 200, 130),
    }


def test_a_board_without_defects_is_ok(shelf, tmp_path):
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png")
    facts = look(shelf, tmp_path / "b.png").facts

    assert (facts["label"], facts["boxes"]) == ("ok", [])
    assert np.asarray(facts["grid"]["scores"]).max() < 0.01


def test_a_tile_of_another_size_than_the_input_is_stretched(shelf, tmp_path):
    put(shelf, "red", red_model(SIDE), SIDE)
    pixels = np.full((160, 160, 3), (10, 90, 40), np.uint8)
    pixels[80:96, 80:96] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    inspection = look(shelf, tmp_path / "b.png", tile_px=80, overlap=0.0)

    assert [finding.box for finding in inspection.found] == [Box(80, 80, 160, 160)]
    assert inspection.facts["tile_px"] == 80


class Batching:
    """An accelerator's session, as far as anybody can tell: notes how many tiles come at once."""

    def __init__(self, session) -> None:
        self.session = session
        self.batches: set[int] = set()

    def run(self, outputs, feeds):
        self.batches.add(len(feeds["images"]))
        return self.session.run(outputs, feeds)


@pytest.mark.parametrize(
    ("free", "batches"), [(0, {1}), (200 * SIDE * SIDE * 4, {4, 1}), (PLENTY, {16, 1})]
)
def test_an_accelerator_gets_batches_that_memory_holds_and_scores_the_same(
    shelf, tmp_path, free, batches
):
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png", (40, 70), size=(352, 96))
    seen = Batching(None)

    def accelerated(path):
        seen.session = open_session(path)
        return FallingBackSession(seen, lambda: open_session(path), "CUDAExecutionProvider")

    plain = look(shelf, tmp_path / "b.png", overlap=0.0)
    predictor = Predictor(shelf, keeping_policy, NoCloud(), accelerated)
    with open_board(tmp_path / "b.png", PLENTY) as board:
        fast = predictor.locally(
            lambda model: inspect_board(model, board, Manner(overlap=0.0), free, Counting())
        )

    assert seen.batches == batches
    assert fast.facts["grid"] == plain.facts["grid"]


def test_the_cpu_gets_one_tile_at_a_time(shelf):
    put(shelf, "red", red_model(SIDE), SIDE)

    assert batch_for(open_session(shelf.folder("red") / MODEL), SIDE, PLENTY) == 1


def test_too_many_tiles_are_refused_with_what_to_change(shelf, tmp_path):
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png", size=(3000, 2000))

    with pytest.raises(BadImageError, match="take larger ones"):
        look(shelf, tmp_path / "b.png", tile_px=8, overlap=0.75)


def generated_board(columns: int, rows: int, px: int) -> tuple[np.ndarray, np.ndarray]:
    """Tiles of one generated board side by side, and which of them have a defect."""
    defective = np.indices((rows, columns)).sum(0) % 2 == 1
    lines = [
        np.hstack(
            [
                generate_tile(3, 100 * row + column, "defect" if wrong else "ok", px)
                for column, wrong in enumerate(line)
            ]
        )
        for row, line in enumerate(defective)
    ]
    return np.vstack(lines), defective


def test_a_starter_model_scores_each_tile_of_a_board_as_it_scores_the_tile_alone(shelf, tmp_path):
    content, px = starter_model("rx-m-128")
    put(shelf, "starter", content, px)
    pixels, defective = generated_board(5, 4, px)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    predictor = Predictor(shelf, keeping_policy, NoCloud())

    facts = look(shelf, tmp_path / "b.png", overlap=0.0).facts

    scores = np.asarray(facts["grid"]["scores"])
    assert scores.shape == defective.shape
    for (row, column), score in np.ndenumerate(scores):
        x, y = facts["grid"]["x"][column], facts["grid"]["y"][row]
        stream = io.BytesIO()
        Image.fromarray(pixels[y : y + px, x : x + px]).save(stream, "PNG")
        alone = predictor.predict(stream.getvalue()).probabilities["defect"]
        assert score == pytest.approx(alone, abs=1e-4)
    assert scores[defective].mean() > scores[~defective].mean() + 0.2


def inspect(*arguments: object):
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def test_the_command_writes_a_picture_and_json_beside_the_board(shelf, tmp_path):
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png", (40, 70))
    result = inspect(
        tmp_path / "b.png", "--state", tmp_path / "state", "--overlap", 0, "--threshold", 0.9
    )

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("defect: 1 box, the worst 100.0% (")
    facts = json.loads((tmp_path / "b.inspect.json").read_bytes())
    assert facts["boxes"] == [
        {"x": 32, "y": 64, "width": 32, "height": 32, "score": pytest.approx(1, abs=0.01)}
    ]
    assert (facts["image"], facts["model_id"], facts["label"]) == ("b.png", "red", "defect")
    with Image.open(tmp_path / "b.inspect.png") as drawn:
        assert drawn.size == (200, 130)
        assert drawn.getpixel((32, 80)) == (255, 225, 0)


def test_the_command_prints_json_and_writes_where_it_is_told(shelf, tmp_path):
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png")
    result = inspect(
        tmp_path / "b.png", "--state", tmp_path / "state", "--json", "--out", tmp_path / "o/p",
        "--tile-px", 64,
    )  # fmt: skip

    facts = json.loads(result.stdout)
    assert facts["tile_px"] == 64
    assert facts["label"] == "ok"
    assert sorted(p.name for p in (tmp_path / "o/p").iterdir()) == [
        "b.inspect.json",
        "b.inspect.png",
    ]
    assert not (tmp_path / "b.inspect.json").exists()


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--overlap", "0.9"], 2), (["--threshold", "2"], 2), (["--tile-px", "0"], 2),
     (["--merge", "sum"], 2), ([], 9)],
)  # fmt: skip
def test_what_cannot_be_done_has_its_exit_code(tmp_path, options, code):
    red_board(tmp_path / "b.png")
    result = inspect(tmp_path / "b.png", "--state", tmp_path / "state", *options)

    assert result.exit_code == code, result.output


def test_a_board_that_is_no_picture_is_code_9(shelf, tmp_path):
    put(shelf, "red", red_model(SIDE), SIDE)
    (tmp_path / "b.png").write_bytes(b"no picture")

    assert inspect(tmp_path / "b.png", "--state", tmp_path / "state").exit_code == 9
    assert inspect(tmp_path / "none.png", "--state", tmp_path / "state").exit_code == 9


def test_a_cap_below_the_boards_memory_is_code_9(shelf, tmp_path):
    put(shelf, "red", red_model(SIDE), SIDE)
    red_board(tmp_path / "b.png")
    result = inspect(tmp_path / "b.png", "--state", tmp_path / "state", "--ram-cap", "10MB")

    assert result.exit_code == 9
    assert "of memory" in result.stderr


def test_the_score_is_the_chance_of_anything_but_ok():
    assert score_of({"ok": 0.25, "scratch": 0.5, "dent": 0.25}) == pytest.approx(0.75)
    assert score_of({"a": 0.5, "b": 0.5}) == 1.0


def test_the_tightest_limit_says_what_is_free():
    mb = 10**6
    assert free_bytes(1000 * mb, None, None, 50 * mb) == 936 * mb
    assert free_bytes(1000 * mb, 500 * mb, None, 50 * mb) == 386 * mb
    assert free_bytes(1000 * mb, 500 * mb, 200 * mb, 50 * mb) == 86 * mb
    assert free_bytes(1000 * mb, None, 100 * mb, 50 * mb) == 0
