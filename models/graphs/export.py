"""The way from a trained network to its files, each checked against torch before it is written.

A variant is ``weights.safetensors``, ``inference.onnx`` and ``train-<cut>.onnx`` for every cut.
The training graphs hold no weights: the box adds the frozen ones from the weights file and feeds
the others. Nothing here trains, measures or releases.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import save

from models.graphs import parity
from models.graphs.rules_check import check_rules
from models.graphs.trace import trace
from models.graphs.training import inference_graph, state_tensors, train_graph
from models.networks import Network, frozen_names, trainable_names

WEIGHTS_FILE = "weights.safetensors"
INFERENCE_FILE = "inference.onnx"


@dataclass(frozen=True, kw_only=True)
class ExportedCut:
    """The training graph of one cut, the names it is fed and those added when it is loaded.

    ``largest_difference`` is that of loss, logits and gradients from torch in float64.
    """

    cut: str
    path: Path
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]
    largest_difference: float


@dataclass(frozen=True, kw_only=True)
class ExportedVariant:
    """The files of one network."""

    weights: Path
    inference: Path
    train_graphs: tuple[ExportedCut, ...]
    blocks: tuple[str, ...]
    largest_difference: float


def export_inference(network: Network) -> bytes:
    """Return the inference model; raises UnknownLayerError and ExportDisagreesError.

    Input ``images`` uint8 [N, px, px, C]; outputs ``logits`` [N, K] and ``features`` [N, F].
    """
    model = inference_graph(trace(network), state_tensors(network))
    parity.check_inference(network, model)
    return model


def export_train_graph(network: Network, cut: str) -> bytes:
    """Return the training-step skeleton that trains ``cut`` and all blocks after it.

    Inputs ``images`` uint8 [N, px, px, C], ``labels`` int64 [N], ``weights`` [N],
    ``dropout_mask`` [N, F] where the spec has dropout, and every trainable parameter; outputs
    ``loss``, ``logits`` [N, K] and ``grad.<parameter>``. Raises UnknownCutError,
    UnknownLayerError and ExportDisagreesError.
    """
    names = trainable_names(network, cut)
    skeleton = train_graph(trace(network), names)
    parity.check_step(network, skeleton, names, parity.References(network))
    check_rules(network, cut)
    return skeleton


def export_variant(network: Network, cuts: Iterable[str], folder: Path) -> ExportedVariant:
    """Write weights, inference graph and one training graph per cut into ``folder``.

    Every graph is checked before any file is written; each file is renamed into place, the
    inference graph last, so where that is the others are. Raises as the functions above.
    """
    steps = trace(network)
    tensors = state_tensors(network)
    model = inference_graph(steps, tensors)
    difference = parity.check_inference(network, model)
    references = parity.References(network)
    contents: dict[Path, bytes] = {folder / WEIGHTS_FILE: save(tensors)}
    exported = []
    for cut in cuts:
        names, path = trainable_names(network, cut), folder / f"train-{cut}.onnx"
        contents[path] = train_graph(steps, names)
        check_rules(network, cut)
        exported.append(
            ExportedCut(
                cut=cut,
                path=path,
                trainable=names,
                frozen=frozen_names(network, cut),
                largest_difference=parity.check_step(network, contents[path], names, references),
            )
        )
    contents[folder / INFERENCE_FILE] = model
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        _write(path, content)
    return ExportedVariant(
        weights=folder / WEIGHTS_FILE,
        inference=folder / INFERENCE_FILE,
        train_graphs=tuple(exported),
        blocks=network.blocks,
        largest_difference=difference,
    )


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
