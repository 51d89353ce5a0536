"""Opens a weights file of Keras without trusting it: ``.h5``, or ``.keras``, a zip with one inside.

It needs h5py, not Keras, and runs nothing that a file says: no pickle, no model configuration, no
plug-in filter. Links that lead elsewhere, datasets stored outside the file, compressed or only in
part, paths that climb out of an archive, and anything over the bounds below are refused. It knows
two layouts and three classes of layers, but no network; ``models.keras_weights`` does.

Layouts, after Keras's own writers: the older one (Keras 1 and 2, and ``.h5`` of Keras 3) has a
group for every layer, its weights called by layer and part, and an attribute ``layer_names``; that
of Keras 3 has a group ``CLASS_NUMBER/vars`` for every layer, its weights called 0, 1 and so on, and
in later versions the layer's name in an attribute.
"""

import errno
import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Literal

import h5py
import numpy as np

WEIGHTS_MEMBER = "model.weights.h5"
METADATA_MEMBER = "metadata.json"

MAX_FILE_BYTES = 512 * 2**20
"""Six times Xception, for an optimiser's state. Bounds a file, and what it unpacks to."""
MAX_METADATA_BYTES = 64 * 2**10
MAX_MEMBERS = 256
MAX_OBJECTS = 8192
MAX_DEPTH = 12
MAX_NAME_CHARACTERS = 200

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
ZIP_SIGNATURE = b"PK\x03\x04"
FETCH_AGAIN = "fetch the file again and compare its checksum with the publisher's"
GIVE_XCEPTION = "give keras.applications.Xception, or a model around it, as Keras saved it"
FOREIGN = (
    OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, OverflowError, MemoryError,
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error,
)  # fmt: skip
"""What h5py and zipfile raise on files that are not what they should be."""
OF_THE_MACHINE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EIO, errno.EMFILE}

Kind = Literal["conv2d", "separable_conv2d", "batch_normalization"]
PARTS: dict[Kind, tuple[str, ...]] = {
    "conv2d": ("kernel",),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""The weights of each class of layer, in the order in which Keras numbers them."""
OLD_PARTS = {"W": "kernel", "running_mean": "moving_mean", "running_std": "moving_variance"}
"""Keras 1's names; its ``running_std`` holds the variance."""

_PART = re.compile(
    r"(?:^|_)(depthwise_kernel|pointwise_kernel|kernel|W|gamma|beta|moving_mean|moving_variance"
    r"|running_mean|running_std)(?:_\d+)?(?::\d+)?$"
)
_NUMBERED = re.compile(
    r"(?:(?P<model>.+)/)?(?P<kind>conv2d|separable_conv2d|batch_normalization)"
    r"(?:_(?P<number>\d{1,6}))?/vars/(?P<part>\d)"
)


class KerasFileError(ValueError):
    """A file that does not hold the weights that are wanted, or is not safe to read."""

    def __init__(self, path: Path, reason: str, advice: str) -> None:
        super().__init__(f"{path}: {reason}; {advice}")
        self.path = path
        self.reason = reason


class RefusedError(Exception):
    """A reason to refuse a file, where its path is not known; becomes a KerasFileError."""

    def __init__(self, reason: str, advice: str = GIVE_XCEPTION) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True)
class StoredLayer:
    """A layer in a file: its path, its name (None: the file gives none), its datasets by part."""

    kind: Kind
    path: str
    name: str | None
    parts: dict[str, h5py.Dataset]


@dataclass(frozen=True, kw_only=True)
class KerasFile:
    """An open file: its layers by the model that they are in, and all its paths.

    In the layout ``vars`` the layers of a class are in Keras's order of layers.
    """

    sha256: str
    layout: Literal["layer_names", "vars"]
    keras_version: str | None
    models: dict[str, list[StoredLayer]]
    paths: frozenset[str]


@contextmanager
def open_keras(path: Path) -> Iterator[KerasFile]:
    """Open a file for reading; nothing of it is in memory yet but names.

    Raises KerasFileError, also for what ``read`` or a RefusedError says while the file is open,
    and OSError when the file is not there or the machine fails.
    """
    try:
        _check_size(path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            with _hdf5_of(file) as (stream, version), h5py.File(stream, "r") as h5:
                yield _described(h5, sha256, version)
    except RefusedError as refused:
        raise KerasFileError(path, refused.reason, refused.advice) from refused
    except FOREIGN as error:
        if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
            raise
        what = str(error) or type(error).__name__
        raise KerasFileError(path, f"it is cut short or damaged ({what})", FETCH_AGAIN) from error


def read(layer: StoredLayer, part: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a weight as float32 of that shape (Keras's); raises RefusedError for any other."""
    where = f"{part} of {layer.path!r}"
    if part not in layer.parts:
        raise RefusedError(f"{where} is missing", FETCH_AGAIN)
    dataset = layer.parts[part]
    if dataset.shape != shape:
        raise RefusedError(f"{where} has the shape {dataset.shape}, not {shape}")
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize != np.dtype(np.float32).itemsize:
        raise RefusedError(f"{where} is {dataset.dtype}", "save the model in float32")
    if dataset.id.get_storage_size() != dataset.nbytes:
        raise RefusedError(f"{where} holds fewer numbers than it says", FETCH_AGAIN)
    values = np.asarray(dataset[()], dtype=np.float32)
    if not np.isfinite(values).all() or (part == "moving_variance" and (values < 0).any()):
        raise RefusedError(f"{where} holds numbers that no training leaves", FETCH_AGAIN)
    return values


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if not path.is_file():
        raise RefusedError("it is not a file")
    if size > MAX_FILE_BYTES:
        raise RefusedError(f"its {size:,} bytes are more than the {MAX_FILE_BYTES:,} that are read")


@contextmanager
def _hdf5_of(file: IO[bytes]) -> Iterator[tuple[IO[bytes], str | None]]:
    """Yield the HDF5 file that a file is, or holds, and the Keras version beside it."""
    if _starts_with(file, HDF5_SIGNATURE):
        yield file, None
    elif _starts_with(file, ZIP_SIGNATURE):
        with zipfile.ZipFile(file) as archive, TemporaryFile() as unpacked:
            _check_members(archive)
            for chunk in _member(archive, WEIGHTS_MEMBER, MAX_FILE_BYTES):
                unpacked.write(chunk)
            if not _starts_with(unpacked, HDF5_SIGNATURE):
                raise RefusedError(f"its {WEIGHTS_MEMBER} is not HDF5")
            yield unpacked, _archived_version(archive)
    else:
        raise RefusedError("it is neither HDF5 nor a .keras archive")


def _starts_with(file: IO[bytes], signature: bytes) -> bool:
    file.seek(0)
    start = file.read(len(signature))
    file.seek(0)
    return start == signature


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(members) > MAX_MEMBERS or len(set(names)) < len(names):
        raise RefusedError("its archive holds too many files, or one twice")
    for name in names:
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise RefusedError(f"its archive holds {name!r}, a path that leads out of it")
    if sum(member.file_size for member in members) > MAX_FILE_BYTES:
        raise RefusedError(f"unpacked it is over the {MAX_FILE_BYTES:,} bytes that are read")
    if WEIGHTS_MEMBER not in names:
        raise RefusedError(f"its archive holds no {WEIGHTS_MEMBER}")


def _member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> Iterator[bytes]:
    """Yield a member in chunks; refuse it when more comes out than is allowed."""
    if archive.getinfo(name).compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise RefusedError(f"{name} is packed in a way that Keras does not use")
    count = 0
    with archive.open(name) as member:
        while chunk := member.read(2**20):
            count += len(chunk)
            if count > most_bytes:
                raise RefusedError(f"{name} is over the {most_bytes:,} bytes that are read")
            yield chunk


def _archived_version(archive: zipfile.ZipFile) -> str | None:
    if METADATA_MEMBER not in archive.namelist():
        return None
    metadata = json.loads(b"".join(_member(archive, METADATA_MEMBER, MAX_METADATA_BYTES)))
    return _word(metadata.get("keras_version")) if isinstance(metadata, dict) else None


def _described(h5: h5py.File, sha256: str, version: str | None) -> KerasFile:
    datasets = _datasets(h5)
    root = "model_weights/" if "model_weights" in h5 else ""
    top = h5[root or "/"]
    if _attribute_word(top, "backend") == "theano":
        raise RefusedError(
            "Theano wrote it, whose kernels are turned round", "save it from Keras 2"
        )
    by_names = "layer_names" in top.attrs or "layer_names0" in top.attrs
    return KerasFile(
        sha256=sha256,
        layout="layer_names" if by_names else "vars",
        keras_version=version or _attribute_word(top, "keras_version"),
        models=_by_names(root, datasets) if by_names else _by_numbers(datasets),
        paths=frozenset(datasets),
    )


def _datasets(h5: h5py.File) -> dict[str, h5py.Dataset]:
    """Return all datasets by path; refuse links, cycles, and what is not stored plainly inside."""
    found: dict[str, h5py.Dataset] = {}
    seen = {h5py.h5o.get_info(h5.id).addr}
    waiting: list[tuple[str, h5py.Group]] = [("", h5["/"])]
    while waiting:
        prefix, group = waiting.pop()
        for name in group:
            path = prefix + name
            item = _item(group, name, path)
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) >= MAX_OBJECTS or path.count("/") >= MAX_DEPTH:
                raise RefusedError(f"{path!r} is in it twice, or it holds too much")
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append((path + "/", item))
            else:
                found[path] = _plainly_stored(item, path)
    return found


def _item(group: h5py.Group, name: str, path: str) -> h5py.Group | h5py.Dataset:
    if "/" in name or name in {".", ".."} or len(name) > MAX_NAME_CHARACTERS:
        raise RefusedError(f"{path[:MAX_NAME_CHARACTERS]!r} is no name that Keras gives")
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise RefusedError(f"{path!r} is a link to somewhere else")
    item = group[name]
    if not isinstance(item, h5py.Group | h5py.Dataset):
        raise RefusedError(f"{path!r} is neither a group nor a dataset")
    return item


def _plainly_stored(dataset: h5py.Dataset, path: str) -> h5py.Dataset:
    """Return a dataset whose bytes lie in this file, in one piece and without a filter."""
    how = dataset.id.get_create_plist()
    plain = how.get_layout() in {h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT}
    if not plain or how.get_external_count() or how.get_nfilters():
        raise RefusedError(f"{path!r} is outside the file or compressed, which Keras never does")
    return dataset


def _word(value: object) -> str | None:
    """Return a version or a name, None for anything else."""
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    return text if isinstance(text, str) and re.fullmatch(r"[\w.+-]{1,100}", text) else None


def _attribute_word(group: h5py.Group, name: str) -> str | None:
    there = name in group.attrs and group.attrs.get_id(name).shape == ()
    return _word(group.attrs[name]) if there else None


def _by_names(root: str, datasets: dict[str, h5py.Dataset]) -> dict[str, list[StoredLayer]]:
    """Return the layers of the older layout by the model they are in ("" is the outermost).

    A group is a layer, or a whole model when several layers have their weights in it. The lists of
    names beside them are not read: a short list in a file may stand for endless text in memory.
    """
    parts: dict[tuple[str, str], dict[str, h5py.Dataset]] = {}
    inner: dict[str, set[str]] = {}
    places = [(path, path.removeprefix(root).split("/")) for path in datasets]
    for _, (outer, *below) in places:
        inner.setdefault(outer, set()).add(below[-2] if len(below) > 1 else outer)
    for path, (outer, *below) in places:
        nested = len(inner[outer]) > 1 and len(below) > 1
        model, layer = (outer, below[-2]) if nested else ("", outer)
        named = parts.setdefault((model, layer), {})
        if named.setdefault(_part(path), datasets[path]) is not datasets[path]:
            raise RefusedError(f"{layer!r} has two weights for one purpose")
    return _known_layers(parts)


def _part(path: str) -> str:
    last = path.rpartition("/")[2]
    match = _PART.search(last)
    return OLD_PARTS.get(match[1], match[1]) if match else last


def _known_layers(
    parts: dict[tuple[str, str], dict[str, h5py.Dataset]],
) -> dict[str, list[StoredLayer]]:
    kinds = {frozenset(names): kind for kind, names in PARTS.items()}
    found: dict[str, list[StoredLayer]] = {}
    for (model, layer), named in parts.items():
        kind = kinds.get(frozenset(named))
        if kind:
            path = f"{model}/{layer}".lstrip("/")
            found.setdefault(model, []).append(StoredLayer(kind, path, layer, named))
    return found


def _by_numbers(datasets: dict[str, h5py.Dataset]) -> dict[str, list[StoredLayer]]:
    """Return the layers of Keras 3's layout by the group they are in, in the order of numbers."""
    parts: dict[tuple[str, Kind, int], dict[str, h5py.Dataset]] = {}
    for path, dataset in datasets.items():
        match = _NUMBERED.fullmatch(path)
        if not match:
            continue
        kind: Kind = match["kind"]  # type: ignore[assignment]  # the pattern has no other
        part = int(match["part"])
        if part >= len(PARTS[kind]):
            raise RefusedError(f"{path!r} is a weight that Xception's layers do not have")
        key = (match["model"] or "", kind, int(match["number"] or 0))
        parts.setdefault(key, {})[PARTS[kind][part]] = dataset
    found: dict[str, list[StoredLayer]] = {}
    for (model, kind, _), named in sorted(parts.items(), key=lambda item: item[0]):
        variables = next(iter(named.values())).parent
        path = variables.name.strip("/").removesuffix("/vars")
        layer = StoredLayer(kind, path, _attribute_word(variables, "name"), named)
        found.setdefault(model, []).append(layer)
    return found
