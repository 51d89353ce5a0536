"""What the tests of the documentation share: pages, the tables on them, and the commands."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table as the pages hold it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def assert_holds(page: Path, wanted: str) -> None:
    """Check that a page holds this very table; the failure shows what to put there."""
    assert wanted in page.read_text(encoding="utf-8"), (
        f"{page.relative_to(ROOT)} lags behind the code. Its table must be:\n\n{wanted}"
    )


def command_lines(page: Path) -> list[str]:
    """Return the lines of a page's shell blocks, continued lines joined."""
    blocks = re.findall(
        r"^```(?:sh|bash)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]
