"""DeepPCB: scanned boards with boxed defects, cut into crops and coloured like photographs.

1,249 pairs of a tested board and its defect-free template (Tang et al., arXiv 1902.06197), 640 px,
in groups; boxes are ``x1 y1 x2 y2 type``. Crops are split by group and only by group: pairs of one
group show the same board. It downloads nothing; `default_root` says where the data is looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from models.data.generator.geometry import Mask
from models.data.generator.photograph import photograph_copper
from models.data.generator.tiles import CLASSES, GRID, Tile, TileSet

KINDS = ("open", "short", "mousebite", "spur", "spurious_copper", "pin_hole")
"""The defect kinds; type k in a box file is KINDS[k - 1]."""

_LISTS = ("trainval.txt", "test.txt")
_SUFFIXES = (".png", ".jpg")
_BOX_FIELDS = 5
_INK_LEVEL = 128
_CROP_PX = (100, 300)
_MARGIN_SHARE = 0.06
_TRIES = 20


class DeepPcbError(ValueError):
    """The DeepPCB tree is absent or not as published; the message names the file."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"{path}: {why}; point to the folder PCBData of an unpacked DeepPCB")


class SharedGroupError(ValueError):
    """A group was asked for on both sides of a split."""

    def __init__(self, groups: Sequence[str]) -> None:
        self.groups = tuple(groups)
        super().__init__(f"groups {', '.join(groups)} stand on both sides: leave each on one side")


@dataclass(frozen=True)
class Box:
    """A defect: corners in pixels of the scan and its kind."""

    x1: int
    y1: int
    x2: int
    y2: int
    kind: str


@dataclass(frozen=True)
class Pair:
    """A tested board, its template and the boxes of what differs."""

    group: str
    tested: Path
    template: Path
    boxes: tuple[Box, ...]


def default_root() -> Path:
    """Return where the data lies beside a checkout of the project."""
    return Path(__file__).parents[3] / "shared" / "data" / "deeppcb" / "PCBData"


def load_pairs(root: Path) -> tuple[Pair, ...]:
    """Return every pair that the two lists name, in their order. Raises `DeepPcbError`."""
    pairs: list[Pair] = []
    for name in _LISTS:
        listing = root / name
        if not listing.is_file():
            raise DeepPcbError(listing, "the list is missing")
        rows = (line.split() for line in listing.read_text().splitlines() if line.strip())
        pairs.extend(_pair(root, image, boxes) for image, boxes in rows)
    return tuple(pairs)


def by_group(
    pairs: Sequence[Pair], held_out: Sequence[str]
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Return the pairs outside and inside the groups ``held_out``; KeyError for an unknown one."""
    known = {pair.group for pair in pairs}
    for group in held_out:
        if group not in known:
            raise KeyError(f"no DeepPCB group {group}; there are {', '.join(sorted(known))}")
    inside = tuple(pair for pair in pairs if pair.group in held_out)
    return tuple(pair for pair in pairs if pair.group not in held_out), inside


def require_apart(left: Sequence[Pair], right: Sequence[Pair]) -> None:
    """Raise `SharedGroupError` if a group stands on both sides."""
    shared = sorted({p.group for p in left} & {p.group for p in right})
    if shared:
        raise SharedGroupError(shared)


def crop(pair: Pair, label: str, rng: np.random.Generator) -> tuple[Mask, Mask | None]:
    """Return a square cut of copper (0 or 255), and where it differs from the template.

    ``defect`` is cut round a box, wholly inside and anywhere in the crop; ``ok`` from the template
    or from the tested board where no box is near (then the second value is None).
    """
    if label == "defect" and pair.boxes:
        return _defect_crop(pair, rng)
    side = int(rng.integers(*_CROP_PX))
    template, tested = _scan(pair.template), _scan(pair.tested)
    for _ in range(_TRIES):
        x, y = (int(v) for v in rng.integers(0, len(template) - side, size=2))
        clear = not any(_touches(box, x, y, side) for box in pair.boxes)
        source = tested if clear and rng.random() < 0.5 else template  # noqa: PLR2004
        cut = source[y : y + side, x : x + side]
        if 0 < cv2.countNonZero(cut) < side * side:
            break
    return cut, None


def tile(pair: Pair, label: str, style_seed: int, tile_seed: int, px: int) -> Tile:
    """Return a crop photographed in the style of a board seed, and where its defect is."""
    rng = np.random.default_rng((7, style_seed, tile_seed))
    copper, changed = crop(pair, label, rng)
    return photograph_copper(copper, changed, style_seed, rng, px)


def tiles(pairs: Sequence[Pair], seed: int, count: int, px: int, styles: Sequence[int]) -> TileSet:
    """Return ``count`` coloured crops, ok and defect in turn.

    ``boards`` of the result are the group numbers; ``styles`` are board seeds of the generator.
    """
    rng = np.random.default_rng((8, seed))
    labels = np.arange(count, dtype=np.int64) % 2
    chosen = rng.integers(len(pairs), size=count)
    looks = np.asarray(styles, np.int64)[rng.integers(len(styles), size=count)]
    seeds = rng.integers(2**62, size=count)
    images = np.empty((count, px, px, 3), np.uint8)
    where = np.empty((count, GRID, GRID), np.bool_)
    for k in np.argsort(chosen, kind="stable"):
        made = tile(pairs[chosen[k]], CLASSES[labels[k]], int(looks[k]), int(seeds[k]), px)
        images[k], where[k] = made
    groups = np.array([int(pairs[k].group) for k in chosen], np.int64)
    return TileSet(images, labels, groups, where)


def _pair(root: Path, image: str, boxes: str) -> Pair:
    stem = (root / image).with_suffix("")
    return Pair(
        group=stem.parent.name,
        tested=_existing(stem.with_name(f"{stem.name}_test")),
        template=_existing(stem.with_name(f"{stem.name}_temp")),
        boxes=_boxes(root / boxes),
    )


def _existing(stem: Path) -> Path:
    for suffix in _SUFFIXES:
        if (file := stem.with_name(stem.name + suffix)).is_file():
            return file
    raise DeepPcbError(stem, "neither .png nor .jpg exists")


def _boxes(file: Path) -> tuple[Box, ...]:
    try:
        lines = file.read_text().replace(",", " ").splitlines()
        rows = [[int(field) for field in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError) as exc:
        raise DeepPcbError(file, "cannot read the boxes") from exc
    if any(len(row) != _BOX_FIELDS or not 1 <= row[4] <= len(KINDS) for row in rows):
        raise DeepPcbError(file, "a line is not 'x1 y1 x2 y2 type' with a type from 1 to 6")
    return tuple(Box(x1, y1, x2, y2, KINDS[kind - 1]) for x1, y1, x2, y2, kind in rows)


@lru_cache(maxsize=64)
def _scan(path: Path) -> Mask:
    """Read a scan as copper: white where the board is copper."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise DeepPcbError(path, "the image cannot be decoded")
    return ((grey < _INK_LEVEL) * np.uint8(255)).astype(np.uint8)


def _touches(box: Box, x: int, y: int, side: int) -> bool:
    return box.x1 < x + side and box.x2 > x and box.y1 < y + side and box.y2 > y


def _defect_crop(pair: Pair, rng: np.random.Generator) -> tuple[Mask, Mask]:
    box = pair.boxes[int(rng.integers(len(pair.boxes)))]
    tested = _scan(pair.tested)
    most = max(box.x2 - box.x1, box.y2 - box.y1)
    side = min(len(tested), max(int(rng.integers(*_CROP_PX)), round(most * 1.1)))
    x = _start(box.x1, box.x2, side, len(tested), rng)
    y = _start(box.y1, box.y2, side, len(tested), rng)
    cut = tested[y : y + side, x : x + side]
    return cut, _changed(pair)[y : y + side, x : x + side]


@lru_cache(maxsize=64)
def _changed(pair: Pair) -> Mask:
    """Return what the boxes hold that the template lacks or has too much.

    Scans and templates differ by a pixel or two along every edge, so only differences inside a box
    count, and of those only what is thicker, where anything is.
    """
    apart = cv2.bitwise_xor(_scan(pair.tested), _scan(pair.template))
    thick = cv2.morphologyEx(apart, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    kept = np.zeros_like(apart, np.uint8)
    for box in pair.boxes:
        inside = np.s_[box.y1 : box.y2, box.x1 : box.x2]
        kept[inside] = thick[inside] if thick[inside].any() else apart[inside]
    return kept


def _start(low: int, high: int, side: int, limit: int, rng: np.random.Generator) -> int:
    """Draw where a crop begins so that the box, but for a margin, lies inside it."""
    slack = round(_MARGIN_SHARE * side)
    first, last = max(0, high - side - slack + (high - low) // 4), min(low + slack, limit - side)
    first = min(first, max(last, 0))
    return int(rng.integers(first, max(first, last) + 1))
