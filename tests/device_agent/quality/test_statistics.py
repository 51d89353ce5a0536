"""The box's statistics mean what they say, and are the lab's."""

import numpy as np
import pytest
from PIL import Image

from contract.reference import STATISTICS, STATISTICS_PX
from device_agent.quality import statistics as box
from device_agent.serving.images import decode
from models import reference as lab
from models.data import pcb_tiles
from models.data.generator.boards import write_board


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    return write_board(folder, 9200, n_ok=6, n_defect=6, px=224, seed=0)


def as_the_box_sees(path):
    return box.statistics_of(decode(path.read_bytes(), STATISTICS_PX, 3)[0])


def as_the_lab_sees(path):
    with Image.open(path) as image:
        return lab.statistics_of(np.asarray(image.convert("RGB")))


def test_box_and_lab_compute_the_same_on_generated_tiles(generated):
    assert tuple(as_the_box_sees(generated[0])) == tuple(as_the_lab_sees(generated[0]))
    assert tuple(as_the_box_sees(generated[0])) == STATISTICS
    for path in generated:
        assert as_the_box_sees(path) == pytest.approx(as_the_lab_sees(path), abs=1e-4), path


def test_box_and_lab_compute_the_same_on_photographs():
    root = pcb_tiles.default_root()
    if not root.is_dir():
        pytest.skip("the photographs of real boards are not beside the project")
    for board in pcb_tiles.load_boards(root):
        for file in board.files[::150]:
            assert as_the_box_sees(file.path) == pytest.approx(as_the_lab_sees(file.path), abs=1e-4)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), {"brightness": 0, "saturation": 0, "warmth": 0, "brightest": 0}),
        ((255, 255, 255), {"brightness": 255, "darkest": 255, "saturation": 0}),
        ((200, 0, 0), {"brightness": 59.8, "saturation": 1, "warmth": 200}),
        ((0, 0, 200), {"warmth": -200, "saturation": 1}),
    ],
)
def test_a_plain_picture_has_the_values_that_its_colour_says(colour, expected):
    flat = np.full((128, 128, 3), colour, np.uint8)

    found = box.statistics_of(flat)

    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=0.01)
    assert found["contrast"] == pytest.approx(0, abs=1e-3)
    assert found["sharpness"] == pytest.approx(0, abs=1e-3)


def test_a_blurred_picture_is_less_sharp(generated):
    with Image.open(generated[0]) as image:
        small = image.convert("RGB").resize((128, 128))
    blurred = small.resize((32, 32)).resize((128, 128))

    assert box.statistics_of(np.asarray(blurred))["sharpness"] < (
        box.statistics_of(np.asarray(small))["sharpness"] - 0.5
    )
