"""A contact sheet of the images that something is wrong with, the worst first."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from device_agent.disk.files import write_atomic
from device_agent.errors import BadImageError
from device_agent.quality.findings import Finding
from device_agent.quality.look import read_image
from device_agent.serving.images import decode

COLUMNS, ROWS = 5, 4
A_PAGE = COLUMNS * ROWS
MOST_PAGES = 5
_THUMB_PX = 160
_CELL_PX = (200, 232)
_INDENT_PX = 20
_TEXT_TOP_PX = 168
_LINE_PX = 12
_LINES = 5
_LETTERS = 34
_PAPER, _INK, _MISSING = "white", "black", "lightgrey"


def write_sheet(target: Path, findings: Sequence[Finding]) -> list[Path]:
    """Write up to five pages of twenty images; return the files, the first of them ``target``.

    Without a finding nothing is written. Raises StateError, DiskFullError.
    """
    shown = findings[: A_PAGE * MOST_PAGES]
    pages = [shown[start : start + A_PAGE] for start in range(0, len(shown), A_PAGE)]
    written = []
    for number, page in enumerate(pages, start=1):
        suffix = f"-{number}" if number > 1 else ""
        path = target.with_name(f"{target.stem}{suffix}.png")
        stream = io.BytesIO()
        _page(page).save(stream, "PNG")
        write_atomic(path, stream.getvalue())
        written.append(path)
    return written


def _page(findings: Sequence[Finding]) -> Image.Image:
    rows = -(-len(findings) // COLUMNS)
    width, height = _CELL_PX
    sheet = Image.new("RGB", (COLUMNS * width, rows * height), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for place, finding in enumerate(findings):
        left, top = place % COLUMNS * width, place // COLUMNS * height
        sheet.paste(_thumbnail(finding.file.path), (left + _INDENT_PX, top + 4))
        for number, line in enumerate(caption(finding)):
            at = (left + 6, top + _TEXT_TOP_PX + number * _LINE_PX)
            draw.text(at, line, fill=_INK, font=font)
    return sheet


def caption(finding: Finding) -> list[str]:
    """Return what stands under an image, in letters that every build of Pillow can draw."""
    text = f"{finding.kind.replace('_', ' ')}: {finding.file.name}"
    lines = [text, *textwrap.wrap(finding.why, _LETTERS)]
    plain = [line.encode("latin-1", "replace").decode("latin-1") for line in lines]
    first = textwrap.wrap(plain[0], _LETTERS)[:2]
    return [*first, *plain[1:]][:_LINES]


def _thumbnail(path: Path) -> Image.Image:
    try:
        return Image.fromarray(decode(read_image(path), _THUMB_PX, 3)[0])
    except BadImageError:
        return Image.new("RGB", (_THUMB_PX, _THUMB_PX), _MISSING)
