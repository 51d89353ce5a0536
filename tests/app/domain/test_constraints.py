"""What a point needs of the disk is never less than what a box is seen to write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.constraints import disk_need_bytes
from contract.plan import Scope
from contract.release import Artifact
from tests.app.release_maker import point, release

MB = 1_000_000
PX, CHANNELS = 32, 3
SIZES = st.integers(0, 200 * MB)
WHOLE, _ = release(1, (point("a"),))


def sized(kind, length_bytes):
    return Artifact(kind=kind, sha256=kind.encode().hex().ljust(64, "0"), length_bytes=length_bytes)


def release_with(parameters=1000, *, weights=5 * MB, inference=4 * MB, graph=1 * MB):
    """Return a release of one variant whose files have these sizes."""
    old = WHOLE.variants[0]
    graphs = tuple(
        g.model_copy(update={"artifact": sized("train_graph", graph)}) for g in old.train_graphs
    )
    changes = {
        "parameters": parameters,
        "weights": sized("weights", weights),
        "inference": sized("inference", inference),
        "train_graphs": graphs,
    }
    return WHOLE.model_copy(update={"variants": (old.model_copy(update=changes),)})


def trained_by(optimiser, workload_mb=None):
    made = point("a", workload_mb=workload_mb)
    return made.model_copy(update={"plan": made.plan.model_copy(update={"optimiser": optimiser})})


class Disk:
    """A disk that remembers the most it held; a file is replaced by a whole twin."""

    def __init__(self):
        self.files, self.most = {}, 0

    def put(self, name, n_bytes):
        self.most = max(self.most, sum(self.files.values()) + n_bytes)
        self.files[name] = n_bytes


def most_on_disk(made, trained, vectors, n_images):
    """Act out a task, file by file, as the agent and the fine-tune program do it."""
    variant, disk = made.variants[0], Disk()
    for artifact in variant.artifacts_for("head"):
        disk.put(artifact.kind, artifact.length_bytes)
    for run in ("dry", "out"):
        disk.put("pixels", n_images * PX * PX * CHANNELS)
        for _ in range(2):
            disk.put(f"{run}/best", trained)
            disk.put(f"{run}/checkpoint", (1 + vectors) * trained)
            disk.put(f"{run}/model", variant.inference.length_bytes)
        del disk.files["pixels"]
    disk.put("kept", variant.inference.length_bytes)
    return disk.most


@given(
    st.integers(1, 50 * MB),
    SIZES,
    SIZES,
    SIZES,
    st.integers(0, 5000),
    st.sampled_from(("sgd", "adam")),
)
def test_the_need_is_at_least_what_a_task_was_seen_to_hold(
    parameters, weights, inference, graph, n_images, optimiser
):
    made = release_with(parameters, weights=weights, inference=inference, graph=graph)
    vectors = {"sgd": 1, "adam": 2}[optimiser]
    need = disk_need_bytes(trained_by(optimiser), made, n_images)
    assert need is not None
    most = most_on_disk(made, 4 * parameters, vectors, n_images)
    assert most <= need
    assert need <= 2 * most + 16 * MB


def test_the_formula_is_the_documented_one():
    made = release_with(parameters=1 * MB, weights=5 * MB, inference=4 * MB, graph=1 * MB)
    checkpoint, best, model, downloads = 12 * MB, 4 * MB, 4 * MB, 10 * MB
    pixels = 1000 * 32 * 32 * 3
    run = checkpoint + best + model
    expected = downloads + 2 * run + checkpoint + pixels + model + 16 * MB
    assert disk_need_bytes(trained_by("adam"), made, 1000) == expected


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_images_need_more(few, more):
    made = release_with()
    apart = disk_need_bytes(point("a"), made, few + more) - disk_need_bytes(point("a"), made, few)
    assert apart == more * PX * PX * CHANNELS


def test_adam_needs_more_than_sgd():
    made = release_with(parameters=1 * MB)
    adam, sgd = (disk_need_bytes(trained_by(name), made, 0) for name in ("adam", "sgd"))
    assert adam - sgd == 3 * 4 * MB


def test_a_small_measured_peak_bounds_what_trains():
    made = release_with(parameters=50 * MB)
    head, whole = (disk_need_bytes(trained_by("sgd", peak), made, 0) for peak in (30, None))
    assert head < whole / 10


@pytest.mark.parametrize("change", ["variant", "cut"])
def test_without_its_files_a_point_has_no_known_need(change):
    made = point("a")
    plan = made.plan.model_copy(update={"scope": Scope(cut="nowhere")})
    lost = {"variant": {"variant": "b"}, "cut": {"plan": plan}}[change]
    assert disk_need_bytes(made.model_copy(update=lost), release_with(), 0) is None
