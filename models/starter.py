"""Makes the starter release: pool, training, export, measuring, release, model card.

One command from nothing but the generator and DeepPCB, so that the result may be shipped. Every
stage keeps what it finished, so a stopped run goes on where it was. The boards it measures on are
generated boards unlike those that training tiles come from, as a factory's own board is.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from contract.architecture import ArchitectureSpec, spec_hash
from contract.measurement import FrontierPoint
from contract.plan import FULL, HEAD, Plan, Scope
from contract.release import Release
from models.card import write_card
from models.data.generator.boards import write_board
from models.data.generator.style import FIRST_FAR_BOARD
from models.data.pool import Pool, PoolRecipe, build_pool
from models.graphs import export_variant
from models.light import Light
from models.measure import VariantFiles, boards_in, measure_points
from models.networks import build
from models.networks.registry import NETWORKS, STARTER
from models.reference import reference_of_pool, with_reference
from models.release import ReleaseExistsError, write_release
from models.train import RECORD_FILE, WEIGHTS_FILE, Recipe, load_weights, train
from models.variant import INFERENCE_FILE, describe_variant
from models.whole_folder import whole_folder

TASK = "pcb-adapt"
CLASSES = ("ok", "defect")
MEASURE_BOARDS = range(FIRST_FAR_BOARD, FIRST_FAR_BOARD + 8)
MEASURE_TILES_PER_CLASS = 100
"""Both for learning (n = 200) and, other tiles, for testing."""

Report = Callable[[str, int, int], None]
"""``report(stage, done, total)``: what is going on and how far it is."""


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """How one kind of scope is trained on a box."""

    micro_batch: int
    epochs: int
    learning_rate: float


HEAD_PLAN = PlanRow(micro_batch=16, epochs=12, learning_rate=3e-3)
PREFIX_PLAN = PlanRow(micro_batch=8, epochs=12, learning_rate=1e-3)
FULL_PLAN = PlanRow(micro_batch=16, epochs=10, learning_rate=1e-3)
BATCH = 32


def cuts_of(blocks: Sequence[str]) -> tuple[str, ...]:
    """Return the cuts that a starter variant offers, from the least memory to the most.

    Head, the exit part, the second half of the middle flow (the last entry block where there is
    no middle flow), everything.
    """
    middle = [name for name in blocks if name.startswith("middle")]
    entry = [name for name in blocks if name.startswith("entry")]
    half = middle[len(middle) // 2] if middle else entry[-1]
    return (HEAD, "exit", half, FULL)


def plans_of(spec: ArchitectureSpec, blocks: Sequence[str]) -> tuple[Plan, ...]:
    """Return the plans that are measured for a starter variant: one per cut."""
    return tuple(_plan(spec.input_px, cut) for cut in cuts_of(blocks))


def _plan(px: int, cut: str) -> Plan:
    row = {HEAD: HEAD_PLAN, FULL: FULL_PLAN}.get(cut, PREFIX_PLAN)
    return Plan(
        scope=Scope(cut=cut),
        input_px=px,
        batch=BATCH,
        micro_batch=row.micro_batch,
        epochs=row.epochs,
        optimiser="adam",
        learning_rate=row.learning_rate,
    )


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training at one input size; a later one begins with the earlier's weights.

    ``crops`` says whether DeepPCB's crops are among the tiles.
    """

    px: int
    steps: int
    learning_rate: float = 3e-3
    light: Light = "near"
    crops: bool = True


def _widened(px: int, steps: int, *, crops: bool = False) -> Phase:
    """Return a late phase of a network: light, cameras and masks of all kinds."""
    return Phase(px=px, steps=steps, learning_rate=2e-3, light="wide", crops=crops)


@dataclass(frozen=True)
class Pools:
    """What phases learn from: ``whole``, and ``drawn``, the same without DeepPCB's crops."""

    whole: Pool
    drawn: Pool

    def of(self, phase: Phase) -> Pool:
        return self.whole if phase.crops else self.drawn


def build_pools(work: Path, recipe: PoolRecipe, report: Report, *, workers: int = 1) -> Pools:
    """Make both pools below ``work``, or what is missing of them."""

    def build(name: str, recipe: PoolRecipe) -> Pool:
        tell = partial(report, f"tiles of {name}")
        return build_pool(work / name, recipe, tell, workers=workers)

    drawn = replace(recipe, deeppcb_crops=0)
    return Pools(build("pool", recipe), build("pool-drawn", drawn))


PHASES: dict[str, tuple[Phase, ...]] = {
    "rx-2xs-064": (Phase(px=64, steps=2500), _widened(64, 600, crops=True), _widened(64, 1000)),
    "rx-xs-096": (Phase(px=96, steps=2500), _widened(96, 500, crops=True), _widened(96, 1100)),
    "rx-s-128": (
        Phase(px=128, steps=2000),
        Phase(px=128, steps=1500, learning_rate=2e-3),
        _widened(128, 1600),
    ),
    "rx-m-128": (Phase(px=128, steps=2000), _widened(128, 400, crops=True), _widened(128, 1200)),
    "rx-m-192": (
        Phase(px=128, steps=1000),
        Phase(px=192, steps=900, learning_rate=2e-3),
        _widened(192, 300, crops=True),
        _widened(192, 700),
    ),
    "rx-l-224": (
        Phase(px=128, steps=800),
        Phase(px=224, steps=650, learning_rate=2e-3),
        Phase(px=224, steps=450, learning_rate=1e-3),
        _widened(224, 300, crops=True),
        _widened(224, 500),
        _widened(224, 500),
    ),
}
"""Small pictures first: most of what a large network learns, it learns as well on them."""


class NotAStarterError(ValueError):
    """A network that the starter release does not hold: nobody has set its phases."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is not in the starter release; choose one of: {', '.join(STARTER)}"
        )
        self.name = name


def require_starter(name: str) -> None:
    """Raise NotAStarterError for a network that the starter release does not hold."""
    if name not in STARTER or name not in PHASES:
        raise NotAStarterError(name)


def train_variant(name: str, pools: Pools, recipe: Recipe, work: Path, report: Report) -> Path:
    """Train one registry entry through its phases, or what is missing; return its folder.

    Two entries that share a phase (the same network at another size) share its weights. Raises
    NotAStarterError.
    """
    require_starter(name)

    def report_by_name(stage: str, done: int, total: int) -> None:
        report(f"{name} {stage}", done, total)

    return train_phases(NETWORKS[name], PHASES[name], pools, recipe, work, report_by_name)


def train_phases(
    spec: ArchitectureSpec,
    phases: Sequence[Phase],
    pools: Pools,
    recipe: Recipe,
    work: Path,
    report: Report,
) -> Path:
    """Train ``spec`` through the phases that are not done yet; return the folder of the last.

    A phase's folder is named by all that led to its weights, so none is mistaken for another.
    """
    start: Path | None = None
    folder = work
    lineage = hashlib.sha256()
    for number, phase in enumerate(phases, start=1):
        resized = spec.model_copy(update={"input_px": phase.px})
        own = replace(
            recipe, steps=phase.steps, learning_rate=phase.learning_rate, light=phase.light
        )
        pool = pools.of(phase)
        lineage.update(f"{spec_hash(resized)} {own} {pool.describe()}\n".encode())
        folder = work / "trained" / f"{spec_hash(resized)[:12]}-{lineage.hexdigest()[:12]}"
        if not (folder / RECORD_FILE).is_file():
            tell = partial(_tell, report, f"phase {number}")
            train(resized, pool, own, folder, tell, start)
        start = folder / WEIGHTS_FILE
    return folder


def _tell(report: Report, stage: str, done: int, total: int, text: str) -> None:
    report(f"{stage}: {text}", done, total)


def export_trained(name: str, folder: Path) -> VariantFiles:
    """Export one trained variant unless it is done, and describe it; raises NotAStarterError."""
    require_starter(name)
    spec = NETWORKS[name]
    network = build(spec)
    load_weights(network, folder / WEIGHTS_FILE)
    cuts = cuts_of(network.blocks)
    if not (folder / INFERENCE_FILE).is_file():
        export_variant(network, cuts, folder)
    return describe_variant(name, spec, classes=CLASSES, cuts=cuts, folder=folder)


def measure_variants(
    variants: Sequence[VariantFiles], work: Path, report: Report
) -> tuple[FrontierPoint, ...]:
    """Measure every plan of every variant on the boards kept aside."""
    return measure_points(
        [(v, p) for v in variants for p in plans_of(v.variant.spec, v.variant.blocks)],
        boards=boards_in(_measure_boards(work)),
        task=TASK,
        train_limit=2 * MEASURE_TILES_PER_CLASS,
        out_dir=work / "measure",
        report=partial(_tell_of_measuring, report),
    )


def _tell_of_measuring(report: Report, name: str, done: int, total: int) -> None:
    report(f"measure {name}", done, total)


def _measure_boards(work: Path) -> Path:
    """Draw the boards that points are measured on; each folder appears whole or not at all."""
    folder = work / "boards"
    for seed in MEASURE_BOARDS:
        for part in ("train", "test"):
            target = folder / f"generated-{seed}" / part
            if not target.is_dir():
                n = MEASURE_TILES_PER_CLASS
                with whole_folder(target) as unfinished:
                    tile_seed = int(part == "test")
                    write_board(unfinished, seed, n_ok=n, n_defect=n, px=224, seed=tile_seed)
    return folder


def make_starter(
    out: Path, *, number: int, work: Path, recipe: Recipe, pool_recipe: PoolRecipe, report: Report
) -> Release:
    """Make the starter release in ``out``; raises what its stages raise, and loses nothing.

    Raises ReleaseExistsError at once, not after hours, when ``out`` is there.
    """
    if out.exists():
        raise ReleaseExistsError(out)
    pools = build_pools(work, pool_recipe, report, workers=os.cpu_count() or 1)
    variants = []
    for name in STARTER:
        folder = train_variant(name, pools, recipe, work, report)
        variants.append(export_trained(name, folder))
    points = measure_variants(variants, work, report)
    variants = list(with_reference(variants, reference_of_pool(pools.drawn, pool_recipe.px)))
    return publish(
        out,
        number=number,
        title="Starter release",
        variants=variants,
        points=points,
        made_by="python -m models starter",
    )


def publish(
    out: Path,
    *,
    number: int,
    title: str,
    variants: Sequence[VariantFiles],
    points: Sequence[FrontierPoint],
    made_by: str = "python -m models release",
) -> Release:
    """Write the release folder and its model card; raises ReleaseExistsError."""
    release = Release(
        number=number,
        title=title,
        task=points[0].task if points else TASK,
        made_by=made_by,
        variants=tuple(files.variant for files in variants),
        points=tuple(points),
    )
    paths = [path for files in variants for path in files.paths.values()]
    write_release(out, release, paths)
    write_card(out, release)
    return release
