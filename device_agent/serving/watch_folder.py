"""Judges every image that appears in a folder and writes the answer beside it: ``NAME.json``.

A file is judged once it looked the same at two looks, so one that is still being written waits. The
answer names the file's size and time of change: with it beside the image, no restart judges twice,
and an image that is replaced is judged anew. An image that cannot be read gets an answer with the
reason. While no model can answer, images wait.

With ``sort`` an image is moved to ``ok/`` or ``defect/`` below the folder, its answer first: a
crash between the two leaves an answer that the next look goes on from. Sub-folders are not looked
into.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from contract.inference import Prediction
from device_agent.disk.files import named_disk_errors, write_atomic
from device_agent.errors import AgentError, BadImageError, NoPredictionError
from device_agent.loop.world import World
from device_agent.machine.profile import CLASSES, is_image
from device_agent.serving.images import MOST_BYTES

log = structlog.get_logger()
LOOK_EVERY_S = 1.0
MOST_A_ROUND = 64
_MOST_FILES = 100_000


@dataclass(frozen=True)
class Seen:
    """A file as one look found it; the same again means that nobody writes to it."""

    name: str
    size_bytes: int
    changed_ns: int

    @property
    def facts(self) -> dict[str, Any]:
        return {"image": self.name, "size_bytes": self.size_bytes, "changed_ns": self.changed_ns}


class FolderWatch:
    """``judge`` answers for an image's bytes, ``note`` is told; ``look`` goes round once."""

    def __init__(
        self,
        folder: Path,
        judge: Callable[[bytes], Prediction],
        note: Callable[[Prediction], None],
        *,
        sort: bool = False,
    ) -> None:
        self._folder = folder
        self._judge = judge
        self._note = note
        self._sort = sort
        self._last: dict[str, Seen] = {}
        self._done: set[Seen] = set()
        self._said: str | None = None

    def look(self) -> int:
        """Judge what has settled since the last look, at most 64 images; return how many.

        Raises NoPredictionError where no image can be judged now, DiskFullError, StateError.
        """
        now = self._list()
        settled = [seen for name, seen in sorted(now.items()) if self._last.get(name) == seen]
        self._last = now
        self._done &= set(now.values())
        judged = 0
        for seen in settled:
            if seen in self._done:
                continue
            judged += self._settle(seen)
            self._done.add(seen)
            if judged >= MOST_A_ROUND:
                break
        return judged

    def look_quietly(self) -> int:
        """Look; what cannot be done now is logged once and tried at the next look."""
        try:
            judged = self.look()
        except (AgentError, OSError) as exc:
            if self._said != str(exc):
                log.warning("watch_waits", folder=str(self._folder), reason=str(exc))
            self._said = str(exc)
            return 0
        self._said = None
        return judged

    def _list(self) -> dict[str, Seen]:
        """Return the plain files that are images; links, pipes and hidden files are none."""
        found: dict[str, Seen] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if len(found) >= _MOST_FILES:
                    break
                if is_image(entry.name) and entry.is_file(follow_symlinks=False):
                    facts = entry.stat(follow_symlinks=False)
                    found[entry.name] = Seen(entry.name, facts.st_size, facts.st_mtime_ns)
        return found

    def _settle(self, seen: Seen) -> int:
        """Judge one image unless its answer is there; put both where they belong."""
        place, answer = self._answered(seen)
        if answer is not None:
            self._move(seen, place)
            return 0
        try:
            answer, prediction = self._answer(seen)
        except FileNotFoundError:
            return 0
        place = self._place(seen, answer)
        write_atomic(_beside(place), json.dumps(answer, indent=1).encode())
        if prediction is not None:
            self._note(prediction)
        self._move(seen, place)
        return 1

    def _answer(self, seen: Seen) -> tuple[dict[str, Any], Prediction | None]:
        try:
            prediction = self._judge(self._read(seen))
        except NoPredictionError:
            raise
        except BadImageError as exc:
            return seen.facts | {"error": str(exc)}, None
        return seen.facts | prediction.model_dump(mode="json"), prediction

    def _read(self, seen: Seen) -> bytes:
        if seen.size_bytes > MOST_BYTES:
            message = f"the image has {seen.size_bytes} bytes; at most {MOST_BYTES} are taken"
            raise BadImageError(message)
        try:
            return (self._folder / seen.name).read_bytes()
        except PermissionError as exc:
            message = f"the image cannot be read: {exc.strerror}"
            raise BadImageError(message) from exc

    def _answered(self, seen: Seen) -> tuple[Path, dict[str, Any] | None]:
        """Return where the image belongs, and the answer to this very file where there is one."""
        for folder in (self._folder, *(self._folder / name for name in CLASSES)):
            for place in _names(folder / seen.name):
                answer = _load(_beside(place))
                if answer is None:
                    break
                if seen.facts.items() <= answer.items():
                    return place, answer
        return self._folder / seen.name, None

    def _place(self, seen: Seen, answer: dict[str, Any]) -> Path:
        """Return where the image goes: a name that no other image or answer has."""
        label = answer.get("label")
        if not self._sort or label not in CLASSES:
            return self._folder / seen.name
        for place in _names(self._folder / str(label) / seen.name):
            if not place.exists() and not _beside(place).exists():
                return place
        return self._folder / seen.name

    def _move(self, seen: Seen, place: Path) -> None:
        source = self._folder / seen.name
        if place == source:
            return
        with named_disk_errors(place):
            source.rename(place)


def _names(place: Path) -> Iterator[Path]:
    """Yield the name itself and the next ones, should the camera use its names again."""
    yield place
    for n in range(1, _MOST_FILES):
        yield place.with_name(f"{place.stem}-{n}{place.suffix}")


def _beside(image: Path) -> Path:
    return image.with_name(f"{image.name}.json")


def _load(path: Path) -> dict[str, Any] | None:
    try:
        answer = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


class WatchThread:
    """Looks every second until ``close``; more seldom where a look at the folder takes long."""

    def __init__(self, watch: FolderWatch, world: World) -> None:
        self._watch = watch
        self._world = world
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._go, name="watch-folder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _go(self) -> None:
        while not self._closing.is_set():
            start_s = self._world.monotonic()
            judged = self._watch.look_quietly()
            spent_s = self._world.monotonic() - start_s
            if self._world.wait(LOOK_EVERY_S if judged else max(LOOK_EVERY_S, 9 * spent_s)):
                return

    def finish(self) -> None:
        """Judge what lies in the folder, then end: for a run that ends by itself."""
        self.close()
        self._watch.look_quietly()
        while not self._world.wait(LOOK_EVERY_S) and self._watch.look_quietly():
            pass

    def close(self) -> None:
        """End after the look under way."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
