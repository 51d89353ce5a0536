"""What a calibrated fallback promises and what it does, on real boards: prints one JSON object.

    PYTHONPATH=. python bench/fallback.py [--variant rx-m-128] [--cut stem]

The variant is fine-tuned on 200 tiles of each real board by the program that boxes run; its scores
file holds the answers to the tiles that it did not train on. A box would calibrate on n of those.
Here that is done 200 times for each board: n tiles are drawn (with replacement, so that the draws
are as independent as the bounds suppose), the threshold is set as a box sets it, and it is judged
by all of the board's held-back tiles (is the promise broken?) and by those not drawn (what would
the line have seen?). The validation tiles say which thresholds to try, as on a box. For comparison
the same with the union bound of Geifman and El-Yaniv (2017). Finished runs are kept in ``--work``.
"""

import argparse
import json
import math
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.adapt import lay_out
from contract.finetune import SCORES_FILE
from contract.rules import BoxRules
from device_agent.cloud.calibrate import KEEP_ALL, Scored, binomial_tail, calibrate, tally_of
from device_agent.cloud.calibration_store import HeldBack, scored
from models.data import pcb_tiles
from models.measure import VariantFiles, boards_in, cpu_model, measure_points
from models.release import FILES_FOLDER, read_release

TILES, DRAWS, CONFIDENCE = 200, 200, 0.9
LABELS = (40, 100, 200)
RISKS = (0.05, 0.1, 0.2)
SHARES = (0.1, 0.2, 0.4)
_KEEP_NONE = 2.0
Rule = Callable[[Sequence[Scored], Sequence[Scored]], float | None]
Row = dict[str, float | None]


@dataclass(frozen=True)
class Board:
    """A board's held-back answers: ``guide`` chose the checkpoint, ``held`` chose nothing."""

    name: str
    guide: list[Scored]
    held: list[Scored]


@dataclass(frozen=True)
class Seen:
    """What one draw did: on the whole board, and on the tiles that were not drawn."""

    risk: float
    sent: float
    risk_unseen: float | None
    sent_unseen: float
    sends_all: bool


def train(release: Path, variant: str, cut: str, work: Path) -> list[Board]:
    """Fine-tune on every board, or take the runs that are there; return the scores."""
    known = read_release(release)
    laid_out = lay_out(pcb_tiles.load_boards(pcb_tiles.default_root()), TILES, work)
    boards = boards_in(laid_out)
    (point,) = (p for p in known.points if (p.variant, p.plan.scope.cut) == (variant, cut))
    out = work / "runs"
    paths = {digest: (release / FILES_FOLDER / digest).resolve() for digest in known.artifacts()}
    files = VariantFiles(variant=known.variant(variant), paths=paths)
    measure_points(
        [(files, point.plan)], boards=boards, task="fallback", train_limit=TILES, out_dir=out,
        report=lambda *_: None,
    )  # fmt: skip
    found = []
    for board in boards:
        (path,) = out.glob(f"{variant}-{cut}-*-{board.name}-s*/{SCORES_FILE}")
        scores = HeldBack.model_validate_json(path.read_bytes())
        found.append(Board(board.name, scored(scores.validation), scored(scores.test)))
    return found


def look(threshold: float | None, board: Board, drawn: set[int]) -> Seen:
    """Judge a threshold by the board's tiles."""
    needed = _KEEP_NONE if threshold is None else threshold
    unseen = [tile for at, tile in enumerate(board.held) if at not in drawn]
    risk, sent = judged(needed, board.held)
    risk_unseen, sent_unseen = judged(needed, unseen)
    return Seen(risk or 0.0, sent, risk_unseen, sent_unseen, threshold is None)


def judged(threshold: float, tiles: Sequence[Scored]) -> tuple[float | None, float]:
    """Return the risk of the kept answers (None of none) and the share sent."""
    kept, wrong = tally_of(tiles)(threshold)
    return (wrong / kept if kept else None), 1 - kept / len(tiles)


def resample(board: Board, n: int, rule: Rule, seed: str) -> list[Seen]:
    """Calibrate on ``n`` drawn tiles, 200 times."""
    random = Random(f"{board.name}/{n}/{seed}")  # noqa: S311 - a draw that anyone may repeat
    found = []
    for _ in range(DRAWS):
        at = random.choices(range(len(board.held)), k=n)
        threshold = rule(board.guide, [board.held[k] for k in at])
        found.append(look(threshold, board, set(at)))
    return found


def by_rules(rules: BoxRules) -> Rule:
    """Return the rule of a box."""

    def rule(guide: Sequence[Scored], held: Sequence[Scored]) -> float | None:
        found = calibrate(guide, held, rules)
        return found.threshold if found else KEEP_ALL

    return rule


def by_union_bound(max_risk: float) -> Rule:
    """Return selective guaranteed risk: a binary search, each step at its share of the level."""

    def rule(_: Sequence[Scored], held: Sequence[Scored]) -> float | None:
        steps = max(1, math.ceil(math.log2(len(held))))
        ordered, tally = sorted({c for c, _ in held}, reverse=True), tally_of(held)
        strict, loose, found = 0, len(ordered) - 1, None
        for _step in range(steps):
            middle = (strict + loose + 1) // 2
            kept, wrong = tally(ordered[middle])
            if binomial_tail(wrong, kept, max_risk) <= (1 - CONFIDENCE) / steps:
                found, strict = ordered[middle], middle
            else:
                loose = max(middle - 1, 0)
        return found

    return rule


def line(boards: Sequence[Board], n: int, rule: Rule, promise: float, *, by_risk: bool) -> Row:
    """Return one line of the table: means over boards, and the worst board."""
    found = [resample(board, n, rule, f"{promise}/{by_risk}") for board in boards]
    broken = [
        statistics.mean((s.risk if by_risk else s.sent) > promise for s in seen) for seen in found
    ]
    every = [s for seen in found for s in seen]
    risks = [s.risk_unseen for s in every if s.risk_unseen is not None]
    return {
        "labels": n,
        "promised": promise,
        "broken_mean": round(statistics.mean(broken), 3),
        "broken_worst_board": round(max(broken), 3),
        "risk_seen": round(statistics.mean(risks), 3) if risks else None,
        "share_sent": round(statistics.mean(s.sent_unseen for s in every), 3),
        "sends_all": round(statistics.mean(s.sends_all for s in every), 3),
    }


def measure(boards: Sequence[Board]) -> dict[str, list[Row]]:
    """Return the three tables."""
    risks = [
        (n, r, BoxRules(max_risk=r, risk_confidence=CONFIDENCE)) for n in LABELS for r in RISKS
    ]
    shares = [
        (n, x, BoxRules(max_offload=x, risk_confidence=CONFIDENCE)) for n in LABELS for x in SHARES
    ]
    return {
        "max_risk": [line(boards, n, by_rules(k), r, by_risk=True) for n, r, k in risks],
        "max_risk_by_union_bound": [
            line(boards, n, by_union_bound(r), r, by_risk=True) for n, r, _ in risks
        ],
        "max_offload": [line(boards, n, by_rules(k), x, by_risk=False) for n, x, k in shares],
    }


def about(boards: Sequence[Board]) -> list[dict[str, object]]:
    """Return what the model is worth on each board before anything is sent."""
    return [
        {
            "board": board.name,
            "tiles_held_back": len(board.held),
            "tiles_that_guide": len(board.guide),
            "risk_if_all_is_kept": round(judged(KEEP_ALL, board.held)[0] or 0.0, 3),
        }
        for board in boards
    ]


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, default=Path("releases/starter"))
    parser.add_argument("--variant", default="rx-m-128")
    parser.add_argument("--cut", default="stem", help="where training begins; stem trains all")
    parser.add_argument("--work", type=Path, default=Path("var/bench/fallback"))
    options = parser.parse_args()
    boards = train(options.release, options.variant, options.cut, options.work)
    figures = {
        "figure": "risk and share promised and seen on real boards",
        "variant": options.variant,
        "cut": options.cut,
        "labelled_tiles_trained_on": TILES,
        "resamplings_a_board": DRAWS,
        "confidence": CONFIDENCE,
        "boards": about(boards),
        **measure(boards),
        "python": platform.python_version(),
        "cpu": cpu_model(),
    }
    print(json.dumps(figures, indent=1))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
