"""A narrow Xception with random weights, in every way in which Keras saves one.

Written from Keras's own definition and writers, knowing nothing of the importer.
"""

import io
import json
import zipfile

import h5py
import numpy as np

from contract.architecture import XceptionSpec

SPEC = XceptionSpec(
    input_px=71,
    head_units=2,
    stem_widths=(4, 6),
    entry_widths=(8, 10, 12),
    middle_depth=2,
    middle_widths=(12, 12, 12),
    exit_widths=(12, 16),
    tail_widths=(20, 24),
)
SEPARABLES = [
    [(6, 8), (8, 8)], [(8, 10), (10, 10)], [(10, 12), (12, 12)],
    [(12, 12)] * 3, [(12, 12)] * 3,
    [(12, 12), (12, 16)],
    [(16, 20), (20, 24)],
]  # fmt: skip
SHORTCUTS = {2: (6, 8), 3: (8, 10), 4: (10, 12), 7: (12, 16)}


def layers(first=0, seed=0):
    """Return the parts of every layer by its name, in Keras's order of layers.

    ``first`` is the number of the first layer that Keras names by itself; 0 is not written.
    """
    rng = np.random.default_rng(seed)
    found = {
        "block1_conv1": _conv(rng, 3, 3, 4),
        "block1_conv1_bn": _bn(rng, 4),
        "block1_conv2": _conv(rng, 3, 4, 6),
        "block1_conv2_bn": _bn(rng, 6),
    }
    for block, widths in enumerate(SEPARABLES, start=2):
        for number, (inner, outer) in enumerate(widths, start=1):
            found[f"block{block}_sepconv{number}"] = _separable(rng, inner, outer)
            found[f"block{block}_sepconv{number}_bn"] = _bn(rng, outer)
        if block in SHORTCUTS:
            number = first + list(SHORTCUTS).index(block)
            suffix = f"_{number}" if number else ""
            found[f"conv2d{suffix}"] = _conv(rng, 1, *SHORTCUTS[block])
            found[f"batch_normalization{suffix}"] = _bn(rng, SHORTCUTS[block][1])
    return found


def _conv(rng, kernel, inner, outer):
    shape = (kernel, kernel, inner, outer)
    return {"kernel": _normal(rng, shape, kernel * kernel * inner)}


def _separable(rng, inner, outer):
    return {
        "depthwise_kernel": _normal(rng, (3, 3, inner, 1), 9),
        "pointwise_kernel": _normal(rng, (1, 1, inner, outer), inner),
    }


def _bn(rng, width):
    return {
        "gamma": _normal(rng, (width,), 1),
        "beta": _normal(rng, (width,), 1),
        "moving_mean": _normal(rng, (width,), 1),
        "moving_variance": rng.uniform(0.5, 2, width).astype(np.float32),
    }


def _normal(rng, shape, fan_in):
    return (rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)


def top():
    """Return the layer that a file without "notop" in its name has besides."""
    return {
        "predictions": {
            "kernel": np.zeros((24, 1000), np.float32),
            "bias": np.zeros(1000, np.float32),
        }
    }


def write_by_names(path, found, *, root="", weight="{layer}/{part}:0", version=b"2.2.4"):
    """Write the older layout: lists of names in attributes."""
    with h5py.File(path, "w") as h5:
        group = h5.require_group(root) if root else h5
        group.attrs["keras_version"] = version
        group.attrs["backend"] = b"tensorflow"
        group.attrs["layer_names"] = [name.encode() for name in ("input_1", *found)]
        group.create_group("input_1").attrs["weight_names"] = []
        for layer, parts in found.items():
            _write_layer(group.create_group(layer), {layer: parts}, weight)
    return path


def write_nested_by_names(path, found):
    """Write a whole model in the older layout, with Xception as one layer of it."""
    with h5py.File(path, "w") as h5:
        group = h5.create_group("model_weights")
        group.attrs["keras_version"] = b"2.15.0"
        group.attrs["layer_names"] = [b"input_2", b"xception", b"batch_normalization_4"]
        group.create_group("input_2").attrs["weight_names"] = []
        _write_layer(group.create_group("xception"), found, "{layer}/{part}:0")
        own = {"batch_normalization_4": found["batch_normalization"]}
        _write_layer(group.create_group("batch_normalization_4"), own, "{layer}/{part}:0")
    return path


def _write_layer(group, found, weight):
    names = {
        weight.format(layer=layer, part=part): values
        for layer, parts in found.items()
        for part, values in parts.items()
    }
    group.attrs["weight_names"] = [name.encode() for name in names]
    for name, values in names.items():
        group.create_dataset(name, data=values)


def write_by_numbers(path, found, *, model="layers", named=False):
    """Write Keras 3's layout: classes and numbers, and in newer files the names."""
    counts = {}
    with h5py.File(path, "w") as h5:
        for layer, parts in found.items():
            kind = _kind(parts)
            number = counts[kind] = counts.get(kind, -1) + 1
            group = h5.create_group(f"{model}/{kind}{f'_{number}' if number else ''}/vars")
            if named:
                group.attrs["name"] = layer
            for index, values in enumerate(parts.values()):
                group[str(index)] = values
        h5["optimizer/vars/0"] = np.int64(3)
    return path


def _kind(parts):
    if "depthwise_kernel" in parts:
        return "separable_conv2d"
    if "gamma" in parts:
        return "batch_normalization"
    return "dense" if "bias" in parts else "conv2d"


def write_archive(path, found, **how):
    """Write a ``.keras`` archive."""
    content = io.BytesIO()
    write_by_numbers(content, found, **how)
    return zip_up(path, {"model.weights.h5": content.getvalue()})


def zip_up(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.3.3"}))
        archive.writestr("config.json", "{}")
        for name, content in members.items():
            archive.writestr(name, content)
    return path
