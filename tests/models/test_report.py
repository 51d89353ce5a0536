import json
import re
from io import BytesIO

import altair as alt
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contract.release import Release
from models import report
from models.cli import main
from models.frontier import non_dominated
from models.starter import publish
from tests.models.points import CONDITIONS, point

FILES = {"frontier.md", "frontier.png", "frontier.svg"}
SMALL = point(variant="small", peak_workload_bytes=30_000_000, accuracy_lower=0.6)
LARGE = point(variant="large", peak_workload_bytes=150_000_000, accuracy_lower=0.7)
WORSE = point(variant="worse", peak_workload_bytes=160_000_000, accuracy_lower=0.65)
GAP = point(variant="gap", latency_ms=None)

FIGURES = st.builds(
    point,
    variant=st.sampled_from(["a", "b", "c"]),
    cut=st.sampled_from(["head", "exit", "stem"]),
    accuracy_lower=st.sampled_from([None, 0.5, 0.6, 0.7]),
    peak_workload_bytes=st.sampled_from([0, 1_000_000, 2_000_000, 3_000_000]),
    train_seconds=st.sampled_from([1.0, 2.0]),
    latency_ms=st.sampled_from([None, 0.0, 1.0, 2.0]),
)
RELEASES = st.lists(FIGURES, max_size=8).map(lambda points: release(*points))
PAIRS = st.lists(st.tuples(st.integers(1, 9).map(float), st.integers(0, 9).map(float)))


def release(*points, title="Trial"):
    return Release(
        number=3, title=title, task="pcb-adapt", made_by="a test", variants=(), points=points
    )


def table_of(*points):
    made = release(*points)
    return report.render_table(made, report.rows(made))


def caption_of(*points):
    made = release(*points)
    return report.caption(made, report.rows(made))


def spec_of(*points):
    made = release(*points)
    return report.spec(made, report.rows(made))


def measured(**changes):
    return CONDITIONS.model_copy(update=changes)


def text_of(svg):
    return svg.decode().replace("&nbsp;", " ")


@pytest.fixture
def folder(tiny, tmp_path):
    """Return a function that writes a whole release with these points, and gives its folder."""

    def make(*points):
        publish(tmp_path / "release", number=3, title="T", variants=[tiny], points=points)
        return tmp_path / "release"

    return make


@pytest.fixture
def refused(capsys):
    """Return a function that runs a report that must fail, and gives the one line it says."""

    def run(source, out):
        assert main(["report", str(source), "--out", str(out)]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    return run


def test_a_report_is_a_picture_twice_and_a_table(folder, tmp_path, capsys):
    source = folder(point(variant="tiny"))

    assert main(["report", str(source), "--out", str(tmp_path / "out")]) == 0

    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert "1 of 1 points are on the front" in " ".join(capsys.readouterr().out.split())


def test_the_same_release_gives_the_same_bytes(tmp_path):
    made = release(SMALL, LARGE, WORSE, GAP)
    for name in ("one", "two"):
        report.write_report(tmp_path / name, made)

    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_picture_says_in_its_own_text_what_it_shows(tmp_path):
    report.write_report(tmp_path / "out", release(SMALL, LARGE, WORSE, GAP))

    said = text_of((tmp_path / "out" / report.SVG_FILE).read_bytes())
    for words in (
        "Trial (release 3): measured frontier",
        "predicted peak memory of the whole fine-tune process, MB (log scale)",
        "latency, ms an image (log scale)",
        "balanced accuracy after fine-tuning (0 to 1)",
        "small",
        "head only",
        "3 of 4 points drawn, 1 left out for a missing figure.",
    ):
        assert words in said


def test_the_picture_fits_a_page_of_1200_px_on_white(tmp_path):
    report.write_report(tmp_path / "out", release(SMALL, LARGE, WORSE))

    with Image.open(BytesIO((tmp_path / "out" / report.PNG_FILE).read_bytes())) as image:
        assert 1000 * report.PNG_SCALE < image.width <= 1200 * report.PNG_SCALE
        assert image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("made", [
    release(SMALL, title="A long title " * 9),
    release(SMALL, point(variant="n" * 80)),
    release(point(conditions=measured(boards=("line-3",) * 40, repeats=40))),
])  # fmt: skip
def test_long_words_do_not_widen_the_picture(made):
    svg = vl_convert.vegalite_to_svg(report.spec(made, report.rows(made)))

    assert int(re.search(r'width="(\d+)"', svg)[1]) <= 1200


def test_nothing_in_the_picture_is_fetched_from_anywhere():
    found = spec_of(SMALL, LARGE)

    assert '"url"' not in json.dumps(found)
    assert alt.Chart.from_dict(found).to_dict() == found


def test_the_front_is_solid_and_on_top_and_the_rest_is_faint():
    drawn = report.marks(report.AXES[0], report.rows(release(WORSE, SMALL, LARGE)))

    assert [(mark["variant"], mark["front"]) for mark in drawn] == [
        ("worse", False),
        ("small", True),
        ("large", True),
    ]


def test_the_picture_has_whole_process_peaks_and_latencies_across():
    memory, latency = (report.marks(axis, report.rows(release(SMALL)))[0] for axis in report.AXES)

    assert (memory["x"], latency["x"]) == (80.0, 2.0)
    assert (memory["mean"], memory["lower"]) == (0.8, 0.6)


@pytest.mark.parametrize(
    ("cut", "scope"),
    [("head", "head only"), ("exit", "from a block on"), ("middle2", "from a block on"),
     ("stem", "full")],
)  # fmt: skip
def test_a_shape_says_how_much_trains(cut, scope):
    drawn = report.marks(report.AXES[0], report.rows(release(point(cut=cut))))

    assert drawn[0]["scope"] == scope


def test_the_line_steps_up_through_lower_bounds_to_the_edge_of_the_panel():
    drawn = report.marks(report.AXES[0], report.rows(release(LARGE, SMALL, WORSE)))

    assert report.front_line(drawn, end=300.0) == [
        {"x": 80.0, "lower": 0.6},
        {"x": 200.0, "lower": 0.7},
        {"x": 300.0, "lower": 0.7},
    ]


@pytest.mark.parametrize("count", [1, len(report.COLOURS), len(report.COLOURS) + 1])
def test_every_network_has_a_colour_of_its_own(count, tmp_path):
    points = [point(variant=f"net-{number}") for number in range(count)]
    report.write_report(tmp_path / "out", release(*points))

    said = text_of((tmp_path / "out" / report.SVG_FILE).read_bytes())
    assert all(f"net-{number}" in said for number in range(count))
    assert len(set(report.COLOURS)) == len(report.COLOURS)


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy_mean": 1.0, "accuracy_lower": 1.0},
        {"accuracy_mean": 0.0, "accuracy_lower": 0.0},
        {"peak_workload_bytes": 2**53, "latency_ms": 1e9},
        {"peak_workload_bytes": 1, "floor_bytes": 0, "latency_ms": 1e-6},
    ],
)
def test_figures_at_their_bounds_are_drawn(changes, tmp_path):
    report.write_report(tmp_path / "out", release(point(**changes)))

    said = text_of((tmp_path / "out" / report.SVG_FILE).read_bytes())
    assert "NaN" not in said
    assert "Infinity" not in said


def test_the_table_holds_a_row_for_every_point_with_its_figures():
    rows = table_of(SMALL, LARGE, WORSE).splitlines()[4:7]

    same, beaten = "10.0 | 2.00 | 1.00", "beaten by 2 (large head)"
    assert rows == [
        f"| 1 | small | head 64px b32/8 | 0.800 | 0.600 | 0.600 | 80 | {same} | on it |",
        f"| 2 | large | head 64px b32/8 | 0.800 | 0.700 | 0.600 | 200 | {same} | on it |",
        f"| 3 | worse | head 64px b32/8 | 0.800 | 0.650 | 0.600 | 210 | {same} | {beaten} |",
    ]


@pytest.mark.parametrize(
    ("changes", "dashes", "words"),
    [
        ({"latency_ms": None}, 1, "no latency"),
        ({"accuracy_mean": None, "accuracy_lower": None}, 2, "no accuracy, no lower bound"),
        ({"accuracy_before": None}, 1, "no accuracy before"),
        ({"floor_bytes": None}, 1, "no floor"),
        ({"peak_workload_bytes": None}, 1, "no peak"),
        ({"train_seconds": None}, 1, "no training time"),
        ({"artifact_bytes": None}, 1, "no artifact size"),
    ],
)
def test_a_missing_figure_is_a_dash_in_the_table_and_no_mark_in_the_picture(changes, dashes, words):
    gap = point(variant="gap", **changes)

    row = next(line for line in table_of(SMALL, gap).splitlines() if "| gap |" in line)

    assert row.split(" | ").count("-") == dashes
    assert f"not ranked: {words} |" in row
    assert "gap" not in json.dumps(spec_of(SMALL, gap))


def test_a_point_with_a_missing_figure_beats_nothing():
    gap = point(variant="gap", latency_ms=None, accuracy_lower=0.79)

    assert [row.on_front for row in report.rows(release(gap, SMALL))] == [False, True]


def test_the_caption_names_the_conditions():
    seen = caption_of(SMALL)

    assert seen.startswith(
        "Measured 2026-01-01: 2 boards, n = 200 labelled tiles a board, 400 test tiles in all, "
        "seeds 0, 1; 1 thread on test (2 cores); onnxruntime 1.32.0. Method: made up for a test."
    )
    assert seen.endswith("1 of 1 points drawn, 0 left out for a missing figure.")


def test_the_caption_names_the_boards_where_they_are_on_record():
    assert "2 boards (line-3, line-4), n" in caption_of(
        point(conditions=measured(boards=("line-4", "line-3")))
    )


def test_conditions_that_differ_between_points_are_all_named():
    seen = caption_of(
        SMALL,
        point(
            variant="b",
            conditions=measured(
                cpu="other", threads=2, n_train=100, measured_at="2026-02-03T00:00:00Z",
                versions={"onnxruntime": "1.33.0"},
            ),
        ),
    )  # fmt: skip

    assert "Measured 2026-01-01 to 2026-02-03: " in seen
    assert "n = 200 or 100 labelled tiles" in seen
    assert "1 or 2 threads on test or other" in seen
    assert "onnxruntime 1.32.0, onnxruntime 1.33.0" in seen


def test_words_of_a_release_cannot_break_out_of_the_page():
    made = release(SMALL, title="<script> | [a](b)")

    assert report.render_table(made, report.rows(made)).startswith(
        r"# \<script\> \| \[a\](b) (release 3)"
    )


@given(RELEASES)
def test_every_point_is_on_the_front_or_beaten_by_one_that_is_or_incomplete(made):
    whole = [p for p in made.points if not report.missing(p)]
    if not whole:
        with pytest.raises(report.NothingToReportError):
            report.rows(made)
        return
    table = report.rows(made)

    assert [row.point for row in table] == list(made.points)
    assert [row.point for row in table if row.on_front] == list(non_dominated(whole))
    for row in table:
        states = (bool(row.missing), row.on_front, row.beaten_by is not None)
        assert states.count(True) == 1
        assert row.beaten_by is None or table[row.beaten_by - 1].on_front


@given(PAIRS)
def test_stairs_give_the_best_that_is_to_be_had_at_or_below_each_place(pairs):
    corners = report.stairs(pairs)

    assert corners == sorted(set(corners))
    for place in range(11):
        reached = [y for x, y in corners if x <= place]
        assert max(reached, default=None) == max((y for x, y in pairs if x <= place), default=None)
        assert reached == sorted(set(reached))


def test_a_folder_without_a_release_is_named(tmp_path, refused):
    assert "no release here" in refused(tmp_path / "nowhere", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_release_without_points_is_told_to_be_measured(folder, tmp_path, refused):
    source = folder()

    assert "release 3 holds 0 points and none with all its figures" in refused(
        source, tmp_path / "out"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_a_release_of_incomplete_points_alone_is_told_to_be_measured(folder, tmp_path, refused):
    assert "holds 1 points and none with" in refused(
        folder(point(variant="tiny", latency_ms=None)), tmp_path / "out"
    )


def test_an_existing_folder_is_left_alone(folder, tmp_path, refused):
    out = tmp_path / "out"
    out.mkdir()

    assert "name a folder that does not" in refused(folder(point(variant="tiny")), out)
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named_and_nothing_is_left(folder, tmp_path, refused):
    source = folder(point(variant="tiny"))
    (tmp_path / "file").touch()

    said = refused(source, tmp_path / "file" / "out")

    assert said == f"error: cannot write a report to {tmp_path / 'file' / 'out'}: Not a directory"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "release"}


def test_a_report_that_cannot_be_put_in_place_leaves_nothing(tmp_path):
    out = tmp_path / "out"
    out.symlink_to("away")

    with pytest.raises(report.ReportNotWrittenError):
        report.write_report(out, release(SMALL))

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert out.is_symlink()
