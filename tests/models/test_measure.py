import json
import math
import shutil
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from contract.finetune import RESULT_FILE, FinetuneJob, FinetuneResult
from contract.measurement import FrontierPoint
from models.measure import (
    MeasurementFailedError,
    NoBoardsError,
    VariantFiles,
    boards_in,
    cpu_model,
    lower_bound,
    measure_points,
    run_finetune,
    spread_between_boards,
)
from tests.models.labs import PX
from tests.models.points import plan

RESULTS = TypeAdapter(FinetuneResult)
JOBS = TypeAdapter(FinetuneJob)
accuracies = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def measured(files, boards, work, **changes):
    tiny_plan = plan("head", input_px=PX, batch=8, micro_batch=4, epochs=2, **changes)
    (point,) = measure_points(
        [(files, tiny_plan)],
        boards=boards,
        task="pcb-adapt",
        train_limit=16,
        out_dir=work,
        report=lambda *_: None,
    )
    return point


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("measure")


@pytest.fixture(scope="module")
def point(tiny, boards_folder, work):
    return measured(tiny, boards_in(boards_folder), work)


def results_in(work):
    found = sorted(work.glob(f"*/{RESULT_FILE}"))
    return [RESULTS.validate_json(path.read_bytes()) for path in found]


def result(n_test=40, **changes):
    return FinetuneResult(job_id="j", status="done", reason="", n_test=n_test, **changes)


def test_a_point_is_what_the_boards_together_say(point, work, tiny):
    results = results_in(work)
    after = [r.balanced_accuracy_after for r in results]

    assert len(results) == 2
    assert point.accuracy_mean == round(statistics.mean(after), 4)
    assert point.accuracy_lower == round(lower_bound(after, results, statistics.stdev(after)), 4)
    assert point.accuracy_before == round(
        statistics.mean(r.balanced_accuracy_before for r in results), 4
    )
    assert point.peak_workload_bytes == max(r.workload_bytes for r in results)
    assert point.floor_bytes == max(r.floor_bytes for r in results)
    assert point.artifact_bytes == sum(
        artifact.length_bytes for artifact in tiny.variant.artifacts_for("head")
    )


def test_a_point_has_every_figure_so_that_a_box_may_be_given_it(point):
    assert None not in point.model_dump().values()
    assert point.peak_workload_bytes > 0
    assert point.latency_ms > 0
    assert point.train_seconds > 0


def test_a_point_carries_its_conditions(point, work):
    seen = point.conditions

    assert seen.repeats == 2
    assert seen.seeds == (0, 1)
    assert seen.n_test == sum(r.n_test for r in results_in(work))
    assert seen.n_train <= 16
    assert {"onnxruntime", "numpy"} <= set(seen.versions)
    assert seen.cpu == cpu_model()


def test_a_point_survives_the_release_file(point):
    assert FrontierPoint.model_validate_json(point.model_dump_json()) == point


def test_a_measured_plan_is_not_run_again(point, tiny, boards_folder, work):
    before = times(work)

    again = measured(tiny, boards_in(boards_folder), work)

    assert times(work) == before
    assert again.model_copy(update={"conditions": point.conditions}) == point


def times(work):
    """Return when each file was written that a run leaves, its job aside."""
    files = [path for path in work.rglob("*") if path.is_file() and path.name != "job.json"]
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_job_that_cannot_be_done_is_named_with_its_reason(tiny, boards_folder, work):
    boards = boards_in(boards_folder)
    empty = replace(boards[0], train_dir=boards_folder / "nowhere")

    with pytest.raises(MeasurementFailedError, match="nowhere") as caught:
        measured(tiny, [empty], work, optimiser="sgd")

    assert "tiny-head" in caught.value.job_id


def test_a_model_that_cannot_be_timed_is_named(tiny, boards_folder, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    sha256 = tiny.variant.inference.sha256
    files = VariantFiles(variant=tiny.variant, paths=tiny.paths | {sha256: broken})

    with pytest.raises(MeasurementFailedError, match="could not be measured"):
        measured(files, boards_in(boards_folder)[:1], tmp_path)


@pytest.fixture
def finished(point, work, tmp_path):
    """Return a finished job of its own, in a copy of its folder."""
    assert point.conditions.repeats == 2
    first = min(work.glob("tiny-head-*adam*"))
    folder = shutil.copytree(first, tmp_path / "job")
    return replace(JOBS.validate_json((first / "job.json").read_bytes()), output_dir=str(folder))


def test_a_result_of_an_earlier_run_does_not_hide_a_failure(finished):
    with pytest.raises(MeasurementFailedError, match="learning_rate"):
        run_finetune(replace(finished, learning_rate=-1.0))


def test_progress_lines_are_passed_on(finished):
    said = []

    run_finetune(finished, said.append)

    assert json.loads(said[-1])["event"] == "done"


def test_boards_are_found_by_name_and_need_both_parts(tmp_path, boards_folder):
    assert [board.name for board in boards_in(boards_folder)] == ["a", "b"]
    (tmp_path / "only-train" / "train").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoBoardsError, match="BOARD/train"):
            boards_in(folder)


spreads = st.none() | st.floats(0, 0.5)


@given(accuracies, st.integers(0, 1000), spreads)
def test_the_lower_bound_is_a_share_and_never_above_the_mean(values, n_test, spread):
    bound = lower_bound(values, [result(n_test)] * len(values), spread)

    assert 0.0 <= bound <= statistics.mean(values)


@given(st.floats(0.05, 1.0), st.integers(2, 30), st.integers(1, 20), spreads)
def test_more_boards_bring_the_bound_closer(accuracy, boards, n_test, spread):
    def bound(n):
        return lower_bound([accuracy] * n, [result(n_test)] * n, spread)

    assert bound(boards) <= bound(2 * boards)


@given(st.floats(0.3, 0.7), st.floats(0.0, 0.2), st.floats(0.0, 0.2))
def test_boards_that_differ_more_widen_the_interval(mean, one, other):
    near, far = sorted((one, other))

    def bound(spread):
        return lower_bound([mean] * 3, [result()] * 3, spread)

    assert bound(far) <= bound(near) + 1e-12


@given(accuracies, st.floats(0, 0.5), st.floats(0, 0.5))
def test_on_the_same_boards_the_higher_mean_has_the_higher_bound(values, gain, spread):
    """Only where the interval is that between boards: the binomial one widens towards a half."""
    results = [result(10**9)] * len(values)
    better = [value + gain * (1 - value) for value in values]

    assert lower_bound(values, results, spread) <= lower_bound(better, results, spread) + 1e-4


def test_two_boards_use_students_t():
    spread = statistics.stdev([0.90, 0.94])
    found = lower_bound([0.90, 0.94], [result(10_000)] * 2, spread)

    assert found == pytest.approx(0.92 - 12.706 * spread / math.sqrt(2))


def test_the_spread_of_one_point_is_its_boards_own():
    assert spread_between_boards([[0.6, 0.7, 0.9]]) == statistics.stdev([0.6, 0.7, 0.9])


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=9))
def test_a_pooled_spread_lies_between_the_smallest_and_the_largest(points):
    own = [statistics.stdev(point) for point in points]

    assert min(own) - 1e-9 <= spread_between_boards(points) <= max(own) + 1e-9


@pytest.mark.parametrize("points", [[], [[0.7]], [[0.7], [0.9]]])
def test_one_board_says_nothing_of_the_spread(points):
    assert spread_between_boards(points) is None


def test_one_perfect_board_is_not_certainty():
    assert lower_bound([1.0], [result(40)], None) < 0.97
