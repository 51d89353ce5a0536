"""One worked fleet, told on the operators' page: a box, a release, a policy, a decision.

The figures are like the starter release's, its lists of parameters shortened. The decision is the
selector's own. It serves no request and is not what any server holds.
"""

from datetime import UTC, datetime
from functools import cache

from app.domain.selection import PolicyInForce, select
from contract.architecture import XceptionSpec
from contract.decision import Decision
from contract.device import DeviceProfile
from contract.measurement import Conditions, FrontierPoint
from contract.plan import FULL, HEAD, Plan, Scope
from contract.policy import PolicyBody
from contract.release import Artifact, ArtifactKind, Release, TrainGraph, Variant

TASK = "pcb-adapt"
DEVICE_ID = "box-019ca816ea40a3f1c2d4e5f60718"
DECISION_ID = "decision-019ca8552bc01b2c3d4e5f607182"
SERIAL = "LINE3-BOX7"
LABELS = {"line": "pcb-3"}
POLICY_NAME = "pcb-line-3"
POLICY_VERSION = 1
LOADED_AT = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
ENROLLED_AT = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
DECIDED_AT = datetime(2026, 3, 1, 7, 38, tzinfo=UTC)
PROFILE = DeviceProfile(
    cpu="ARM Cortex-A72",
    cores=4,
    cpu_flags=("neon",),
    ram_total_bytes=2_000_000_000,
    ram_available_bytes=1_400_000_000,
    swap_bytes=0,
    disk_free_bytes=8_000_000_000,
    cgroup_limit_bytes=1_000_000_000,
    operator_cap_bytes=256_000_000,
    agent_bytes=60_000_000,
    runtime_floor_bytes=57_000_000,
    benchmark_ms=41.5,
    accelerators=(),
    providers=("CPUExecutionProvider",),
    versions={"agent": "0.1.0", "onnxruntime": "1.32.0"},
    cap_kinds=("rlimit_data", "watchdog"),
    n_ok=240,
    n_defect=60,
)
POLICY = PolicyBody(
    selector=LABELS,
    priority=10,
    accuracy_floor=0.55,
    budget_fraction=0.9,
    reserve_bytes=268_435_456,
    max_latency_ms=50.0,
    max_artifact_bytes=20_000_000,
    images_may_leave=False,
)
CONDITIONS = Conditions(
    method="models finetune, a fresh process per board; t interval over boards",
    host="2 cores, x86_64",
    cpu="AMD EPYC",
    versions={"onnxruntime": "1.32.0", "numpy": "2.4.6"},
    threads=1,
    seeds=(0, 1, 2, 3, 4),
    n_train=200,
    n_test=1000,
    repeats=5,
    measured_at="2026-02-24T10:18:44Z",
)
_TINY_HEAD = FrontierPoint(
    variant="rx-2xs-064",
    plan=Plan(
        scope=Scope(cut=HEAD),
        input_px=64,
        batch=32,
        micro_batch=16,
        epochs=12,
        optimiser="adam",
        learning_rate=0.003,
    ),
    task=TASK,
    accuracy_mean=0.671,
    accuracy_lower=0.532,
    accuracy_before=0.651,
    peak_workload_bytes=26_460_160,
    floor_bytes=56_950_784,
    train_seconds_per_image=0.0001,
    train_seconds=0.83,
    latency_ms=0.1,
    inference_bytes=13_295_616,
    artifact_bytes=314_137,
    conditions=CONDITIONS,
)
_TINY_FULL = _TINY_HEAD.model_copy(
    update={
        "plan": _TINY_HEAD.plan.model_copy(update={"scope": Scope(cut=FULL), "epochs": 10}),
        "accuracy_mean": 0.691,
        "accuracy_lower": 0.559,
        "peak_workload_bytes": 44_089_344,
        "train_seconds_per_image": 0.0014,
        "train_seconds": 3.57,
        "artifact_bytes": 370_139,
    }
)
CHOSEN = FrontierPoint(
    variant="rx-m-192",
    plan=Plan(
        scope=Scope(cut="exit"),
        input_px=192,
        batch=32,
        micro_batch=8,
        epochs=12,
        optimiser="adam",
        learning_rate=0.001,
    ),
    task=TASK,
    accuracy_mean=0.715,
    accuracy_lower=0.579,
    accuracy_before=0.709,
    peak_workload_bytes=81_432_576,
    floor_bytes=56_926_208,
    train_seconds_per_image=0.0033,
    train_seconds=9.8,
    latency_ms=3.3,
    inference_bytes=28_192_768,
    artifact_bytes=2_973_051,
    conditions=CONDITIONS,
)
_LARGE_FULL = CHOSEN.model_copy(
    update={
        "plan": CHOSEN.plan.model_copy(update={"scope": Scope(cut=FULL), "micro_batch": 16}),
        "accuracy_mean": 0.731,
        "accuracy_lower": 0.594,
        "peak_workload_bytes": 350_547_968,
        "train_seconds_per_image": 0.024,
        "train_seconds": 51.4,
        "artifact_bytes": 3_056_104,
    }
)
POINTS = (_TINY_HEAD, _TINY_FULL, CHOSEN, _LARGE_FULL)
_HEAD_NAMES = ("head.linear.weight", "head.linear.bias")
_EXIT_NAME = "exit.body.sep1.pointwise.weight"
_STEM_NAME = "stem.conv1.weight"
_STATISTICS = ("stem.bn1.running_mean", "stem.bn1.running_var")


def _file(kind: ArtifactKind, sha256: str, length_bytes: int) -> Artifact:
    return Artifact(kind=kind, sha256=sha256, length_bytes=length_bytes)


TINY = Variant(
    name="rx-2xs-064",
    spec=XceptionSpec(
        input_px=64,
        head_units=2,
        dropout=0.2,
        stem_widths=(12, 24),
        stem_padding="same",
        entry_widths=(32, 48),
        entry_kernels=(1, 3),
        middle_depth=0,
        middle_widths=(24, 48, 48),
        middle_kernels=(1, 1, 3),
        exit_widths=(48, 80),
        exit_kernels=(1, 3),
        head_pool="average_max",
        tail_widths=(128,),
    ),
    classes=("ok", "defect"),
    parameters=35_758,
    blocks=("stem", "entry1", "entry2", "exit", "tail", "head"),
    weights=_file(
        "weights", "65b6aafaaf23f0c103e7477b432966689774a4ab2dbb17f4e97849429e76b812", 149_136
    ),
    inference=_file(
        "inference", "97f8c8a9087e330e7c4caaba2f1ccb9df4b49a826b8db94826b4dbb29af4c0b8", 154_772
    ),
    train_graphs=(
        TrainGraph(
            cut=HEAD,
            artifact=_file(
                "train_graph",
                "968f671920407bb44c6ceaf37bab2f5acd2b40aa8e9a81b478b946a603e47ff8",
                10_229,
            ),
            trainable=_HEAD_NAMES,
            frozen=(_STEM_NAME, *_STATISTICS, _EXIT_NAME),
        ),
        TrainGraph(
            cut=FULL,
            artifact=_file(
                "train_graph",
                "767d445930c1cbe62e0eecc98fe425948735d8c516842d83e3449b40f3c82a58",
                66_231,
            ),
            trainable=(_STEM_NAME, _EXIT_NAME, *_HEAD_NAMES),
            frozen=_STATISTICS,
        ),
    ),
    lineage={"best_step": "2500", "validation_auc": "0.8031", "torch": "2.13.0+cpu"},
)
LARGE = Variant(
    name="rx-m-192",
    spec=XceptionSpec(
        input_px=192,
        head_units=2,
        dropout=0.2,
        stem_widths=(16, 32),
        stem_padding="same",
        entry_widths=(48, 80, 144),
        entry_kernels=(1, 3),
        middle_depth=3,
        middle_widths=(72, 144, 144),
        middle_kernels=(1, 1, 3),
        exit_widths=(144, 208),
        exit_kernels=(1, 3),
        head_pool="average_max",
        tail_widths=(320,),
    ),
    classes=("ok", "defect"),
    parameters=362_282,
    blocks=(
        *("stem", "entry1", "entry2", "entry3"),
        *("middle1", "middle2", "middle3", "exit", "tail", "head"),
    ),
    weights=_file(
        "weights", "0be5a90628202a62a6d847753aed97a4f2b2df0ceb44a29d9b79945396caf555", 1_462_216
    ),
    inference=_file(
        "inference", "70c63da336bc3d06e4bead2a6e439232b778f55b156ce0fa04a2c89e274f6047", 1_473_280
    ),
    train_graphs=(
        TrainGraph(
            cut="exit",
            artifact=_file(
                "train_graph",
                "e1a3dfb3558a823b3a33674c47de9b51e721511a613875b3b65ca9ef774f5100",
                37_555,
            ),
            trainable=(_EXIT_NAME, *_HEAD_NAMES),
            frozen=(_STEM_NAME, *_STATISTICS),
        ),
        TrainGraph(
            cut=FULL,
            artifact=_file(
                "train_graph",
                "1aa454a287ede0345de75296ac5d3bd23c42d8acf32fa678aaf96a97d9c2e867",
                120_608,
            ),
            trainable=(_STEM_NAME, _EXIT_NAME, *_HEAD_NAMES),
            frozen=_STATISTICS,
        ),
    ),
    lineage={"best_step": "250", "validation_auc": "0.8568", "torch": "2.13.0+cpu"},
)
RELEASE = Release(
    number=1,
    title="Starter release",
    task=TASK,
    made_by="python -m models starter",
    variants=(TINY, LARGE),
    points=POINTS,
)


@cache
def decision() -> Decision:
    """Return what the selector decides for the box."""
    return select(
        profile=PROFILE,
        policy=PolicyInForce(name=POLICY_NAME, version=POLICY_VERSION, body=POLICY),
        release=RELEASE,
        observations={},
        current=None,
        now=DECIDED_AT,
    )
