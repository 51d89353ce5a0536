"""Brings the weights of Keras's Xception, trained on ImageNet, to the registry's Xception.

The backbone is the file's; the head is fresh, because what Keras told apart is not what we tell
apart. It reads through ``models.keras_file``, which trusts no file, and trains nothing. What
differs between the two networks, after ``keras.applications.xception``:

- Kernels are [H, W, in, out] there, [out, in, H, W] here; depthwise ones [H, W, C, 1] there,
  [C, 1, H, W] here. BatchNorm is the same, epsilon 1e-3 included.
- Layers with a name (``block2_sepconv1``) are found by it. The four shortcuts have none
  (``conv2d_7``): they are taken in the order of their numbers, the lowest first. Where a file gives
  no names at all, only classes and numbers, the order of the network decides.
- At stride 2 on an even size Keras pads below and to the right, we above and to the left (see
  ``models.networks.blocks``). So the network is Keras's exactly where every max-pool sees an odd
  size: at 32 n + 7 and 32 n + 8 pixels (71, 103, ..., 295, 296). At 299 one of the four pools, the
  second, sees 74 pixels and looks one pixel further up and to the left.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from contract.architecture import XceptionSpec, spec_hash
from models.keras_file import (
    PARTS,
    KerasFile,
    Kind,
    RefusedError,
    StoredLayer,
    open_keras,
    read,
)
from models.networks import build, network_spec
from models.train import WEIGHTS_FILE, save_weights
from models.whole_folder import whole_folder

NETWORK = "xception"
IMPORT_FILE = "import.json"

OURS: dict[str, tuple[str, tuple[int, ...]]] = {
    "kernel": ("weight", (3, 2, 0, 1)),
    "depthwise_kernel": ("depthwise.weight", (2, 3, 0, 1)),
    "pointwise_kernel": ("pointwise.weight", (3, 2, 0, 1)),
    "gamma": ("weight", (0,)),
    "beta": ("bias", (0,)),
    "moving_mean": ("running_mean", (0,)),
    "moving_variance": ("running_var", (0,)),
}
"""What each part is called in our module, and which of Keras's axes each of our axes is."""

_NAMED_BY_KERAS = re.compile(
    r"(?:conv2d|convolution2d|batch_normalization|batchnormalization)(?:_(\d{1,6}))?"
)


@dataclass(frozen=True)
class Layer:
    """A layer of Keras's Xception: its class, its name (None: a shortcut's), our module."""

    kind: Kind
    name: str | None
    module: str


@dataclass(frozen=True, kw_only=True)
class KerasWeights:
    """What a file held: float32 tensors by our names, our module by Keras's layer, the rest."""

    sha256: str
    layout: str
    keras_version: str | None
    tensors: dict[str, Tensor]
    layers: dict[str, str]
    unused: tuple[str, ...]


def registered() -> XceptionSpec:
    """Return the spec of the registry's original Xception."""
    spec = network_spec(NETWORK)
    if not isinstance(spec, XceptionSpec):
        raise TypeError(NETWORK)
    return spec


def import_keras(
    file: Path, out: Path, *, classes: int, seed: int = 0, spec: XceptionSpec | None = None
) -> KerasWeights:
    """Write ``weights.safetensors`` and the record ``import.json`` into ``out``, both or neither.

    The head has ``classes`` units and is drawn with ``seed``. ``spec`` is the registry's Xception
    unless another without biases is given. ``out`` must not exist. Raises KerasFileError, and
    OSError when a file cannot be read or written.
    """
    wanted = (spec or registered()).model_copy(update={"head_units": classes})
    weights = read_keras(file, wanted)
    torch.manual_seed(seed)
    network = build(wanted)
    network.load_state_dict(weights.tensors, strict=False)
    with whole_folder(out) as temporary:
        save_weights(network, temporary / WEIGHTS_FILE)
        record = _record(file, weights, wanted, seed)
        (temporary / IMPORT_FILE).write_text(json.dumps(record, indent=1) + "\n")
    return weights


def read_keras(path: Path, spec: XceptionSpec) -> KerasWeights:
    """Return every tensor of the backbone of ``spec``, each from one dataset of its own.

    Raises KerasFileError, and OSError when the file cannot be opened.
    """
    with open_keras(path) as file:
        pairs = _pairs(layers_of(spec), _backbone(file))
        used = {part.name.lstrip("/") for _, there in pairs for part in there.parts.values()}
        return KerasWeights(
            sha256=file.sha256,
            layout=file.layout,
            keras_version=file.keras_version,
            tensors=dict(_tensors(pairs, spec)),
            layers={there.path: layer.module for layer, there in pairs},
            unused=tuple(sorted(file.paths - used)),
        )


def layers_of(spec: XceptionSpec) -> tuple[Layer, ...]:
    """Return the layers that hold weights, without the top, in Keras's order of layers."""
    layers = [*_conv_and_bn("block1_conv1", "stem.conv1", "stem.bn1")]
    layers += _conv_and_bn("block1_conv2", "stem.conv2", "stem.bn2")
    blocks = [(f"entry{n}", 2, True) for n in range(1, len(spec.entry_widths) + 1)]
    blocks += [
        (f"middle{n}", len(spec.middle_kernels), False) for n in range(1, spec.middle_depth + 1)
    ]
    blocks.append(("exit", 2, True))
    for number, (ours, count, has_shortcut) in enumerate(blocks, start=2):
        layers += _separables(number, f"{ours}.body", count)
        if has_shortcut:
            layers += _conv_and_bn(None, f"{ours}.shortcut.conv", f"{ours}.shortcut.bn")
    layers += _separables(len(blocks) + 2, "tail", len(spec.tail_widths))
    return tuple(layers)


def _conv_and_bn(name: str | None, conv: str, bn: str) -> tuple[Layer, Layer]:
    return (
        Layer("conv2d", name, conv),
        Layer("batch_normalization", name and f"{name}_bn", bn),
    )


def _separables(block: int, parent: str, count: int) -> Iterator[Layer]:
    for number in range(1, count + 1):
        name, module = f"block{block}_sepconv{number}", f"{parent}.sep{number}"
        yield Layer("separable_conv2d", name, module)
        yield Layer("batch_normalization", f"{name}_bn", f"{module}.bn")


def _backbone(file: KerasFile) -> list[StoredLayer]:
    """Return the layers of the one model in the file that has separable convolutions."""
    having = [
        layers
        for layers in file.models.values()
        if any(layer.kind == "separable_conv2d" for layer in layers)
    ]
    if len(having) != 1:
        raise RefusedError(f"{len(having)} models in it have separable convolutions, not one")
    return having[0]


def _pairs(layers: tuple[Layer, ...], stored: list[StoredLayer]) -> list[tuple[Layer, StoredLayer]]:
    """Match the network's layers with the file's, class by class, each with one of its own."""
    pairs: list[tuple[Layer, StoredLayer]] = []
    for kind in PARTS:
        wanted = [layer for layer in layers if layer.kind == kind]
        there = [layer for layer in stored if layer.kind == kind]
        if len(wanted) != len(there):
            raise RefusedError(f"it has {len(there)} layers of class {kind}, not {len(wanted)}")
        if any(layer.name for layer in there):
            there = _in_order_of_names(wanted, there)
        pairs += zip(wanted, there, strict=True)
    return pairs


def _in_order_of_names(wanted: list[Layer], there: list[StoredLayer]) -> list[StoredLayer]:
    """Return the stored layers as wanted: by name, and those that Keras named by their numbers."""
    names = {layer.name for layer in wanted}
    named = {layer.name: layer for layer in there if layer.name in names}
    numbered = {_number(layer): layer for layer in there if layer.name not in names}
    others = iter([layer for _, layer in sorted(numbered.items(), key=lambda item: item[0])])
    ordered = []
    for layer in wanted:
        match = named.get(layer.name) if layer.name else next(others, None)
        if match is None:
            raise RefusedError(f"{layer.name or 'a shortcut'!r} is missing")
        ordered.append(match)
    return ordered


def _number(layer: StoredLayer) -> int:
    match = _NAMED_BY_KERAS.fullmatch(layer.name or "")
    if not match:
        raise RefusedError(f"{layer.name!r} is no layer of Xception")
    return int(match[1] or 0)


def _tensors(
    pairs: list[tuple[Layer, StoredLayer]], spec: XceptionSpec
) -> Iterator[tuple[str, Tensor]]:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in build(spec).state_dict().items()}
    for layer, there in pairs:
        for part in PARTS[layer.kind]:
            ours, axes = OURS[part]
            name = f"{layer.module}.{ours}"
            theirs = tuple(size for _, size in sorted(zip(axes, shapes[name], strict=True)))
            values = read(there, part, theirs).transpose(axes)
            yield name, torch.from_numpy(np.ascontiguousarray(values))


def _record(file: Path, weights: KerasWeights, spec: XceptionSpec, seed: int) -> dict[str, object]:
    return {
        "network": NETWORK,
        "spec": spec_hash(spec),
        "head": {"units": spec.head_units, "seed": seed},
        "source": {
            "file": file.name,
            "sha256": weights.sha256,
            "layout": weights.layout,
            "keras_version": weights.keras_version,
        },
        "layers": weights.layers,
        "unused": weights.unused,
    }
