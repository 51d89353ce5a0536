"""Small reads of /proc and /sys below a root that a test may choose. Nothing here raises."""

from pathlib import Path

_MOST_BYTES = 65_536
_NAME_LENGTH = 120


def read(path: Path) -> str:
    """Return the text of a small file; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def listed(folder: Path) -> list[Path]:
    """Return what lies in a folder, by name; nothing where it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def facts(path: Path) -> dict[str, str]:
    """Return the ``KEY=value`` lines of a uevent file."""
    pairs = (line.partition("=") for line in read(path).splitlines())
    return {key: value for key, equals, value in pairs if equals}


def numbers(path: Path) -> dict[str, int]:
    """Return the ``key number`` lines of a file, such as a topology node's properties."""
    pairs = (line.split() for line in read(path).splitlines())
    return {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].isdecimal()}  # noqa: PLR2004


def clean(text: str) -> str:
    """Return a name as the contract takes it."""
    return "".join(c for c in text if c.isprintable()).strip()[:_NAME_LENGTH] or "unknown"
