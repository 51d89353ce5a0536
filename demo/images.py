"""Looks at a folder of images before anything is started, so that a mistake costs a second.

Standard library alone, because it runs before anything else of the demo. It reads the first bytes
of as many files as are needed; whether the rest of a picture is whole, the box finds out.
"""

from itertools import islice
from pathlib import Path

CLASSES = ("ok", "defect")
LEAST_PER_CLASS = 10
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_JPEG_BEGINS, _JPEG_ENDS = b"\xff\xd8\xff", b"\xff\xd9"
_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*", b"GIF8")
_SHOWN = 3


def what_is_wrong_with(data: Path) -> str:
    """Return why ``data`` cannot be learnt from and what to do, or nothing when it can."""
    try:
        return _wrong_with_folder(data) or next(filter(None, map(_wrong_with_class, _in(data))), "")
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}. Check its permissions."


def _in(data: Path) -> list[Path]:
    return [data / label for label in CLASSES]


def _wrong_with_folder(data: Path) -> str:
    if not data.exists():
        return f"there is no folder {data}. {_ADVICE}"
    if not data.is_dir():
        return f"{data} is not a folder. {_ADVICE}"
    missing = [folder.name for folder in _in(data) if not folder.is_dir()]
    if not missing:
        return ""
    found = sorted(path.name for path in data.iterdir())
    return f"{data} has no folder {' and no '.join(missing)} ({_held(found)}). {_ADVICE}"


_ADVICE = "DATA must hold two folders of images: ok/ and defect/."


def _wrong_with_class(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if _is_offered(path))
    unusable: list[str] = []
    good = list(islice((p for p in files if _begins_like_an_image(p, unusable)), LEAST_PER_CLASS))
    if len(good) == LEAST_PER_CLASS:
        return ""
    aside = f", and {len(unusable)} that are damaged ({_few(unusable)})" if unusable else ""
    kinds = " ".join(sorted(SUFFIXES))
    return (
        f"{folder} holds {len(good)} images{aside}; at least {LEAST_PER_CLASS} are needed. "
        f"Add {LEAST_PER_CLASS - len(good)} more ({kinds})."
    )


def _is_offered(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _begins_like_an_image(path: Path, unusable: list[str]) -> bool:
    """Say whether the file is an image by its first bytes; else note its name."""
    with path.open("rb") as file:
        head = file.read(16)
        whole = not head.startswith(_JPEG_BEGINS) or _JPEG_ENDS in file.read()
    known = head.startswith((_JPEG_BEGINS, *_BEGINNINGS)) or head[:4] + head[8:12] == b"RIFFWEBP"
    if not (known and whole):
        unusable.append(path.name)
    return known and whole


def _held(names: list[str]) -> str:
    return f"it holds {_few(names)}" if names else "it is empty"


def _few(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
