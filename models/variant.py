"""Turns a folder that training and export filled into a catalogue variant.

It reads files and describes them; it trains, exports and measures nothing.
"""

import json
from pathlib import Path

from contract.architecture import ArchitectureSpec
from contract.release import TrainGraph, Variant
from models.measure import VariantFiles
from models.networks import build
from models.networks.cuts import frozen_names, parameter_count, trainable_names
from models.release import describe_artifact
from models.train import RECORD_FILE, WEIGHTS_FILE

INFERENCE_FILE = "inference.onnx"
VARIANT_FILE = "variant.json"


def graph_file(cut: str) -> str:
    """Return the file name of a cut's training-step graph."""
    return f"train-{cut}.onnx"


def describe_variant(
    name: str,
    spec: ArchitectureSpec,
    *,
    classes: tuple[str, ...],
    cuts: tuple[str, ...],
    folder: Path,
) -> VariantFiles:
    """Describe the variant whose weights, inference and training graphs are in ``folder``.

    The description is kept beside them, for ``load_variant``. Raises OSError when one of them is
    missing, UnknownCutError for a cut that the network lacks.
    """
    network = build(spec)
    record = json.loads((folder / RECORD_FILE).read_text())
    graphs = tuple(
        TrainGraph(
            cut=cut,
            artifact=describe_artifact(folder / graph_file(cut), "train_graph"),
            trainable=trainable_names(network, cut),
            frozen=frozen_names(network, cut),
        )
        for cut in cuts
    )
    variant = Variant(
        name=name,
        spec=spec,
        classes=classes,
        parameters=parameter_count(network),
        blocks=network.blocks,
        weights=describe_artifact(folder / WEIGHTS_FILE, "weights"),
        inference=describe_artifact(folder / INFERENCE_FILE, "inference"),
        train_graphs=graphs,
        lineage={key: json.dumps(value) for key, value in record.items()},
    )
    (folder / VARIANT_FILE).write_text(variant.model_dump_json(indent=1) + "\n")
    return VariantFiles(variant=variant, paths=_paths(variant, folder))


def load_variant(folder: Path) -> VariantFiles:
    """Return what ``describe_variant`` described; raises OSError where nothing was exported."""
    variant = Variant.model_validate_json((folder / VARIANT_FILE).read_bytes())
    return VariantFiles(variant=variant, paths=_paths(variant, folder))


def _paths(variant: Variant, folder: Path) -> dict[str, Path]:
    paths = {
        variant.weights.sha256: folder / WEIGHTS_FILE,
        variant.inference.sha256: folder / INFERENCE_FILE,
    }
    return paths | {g.artifact.sha256: folder / graph_file(g.cut) for g in variant.train_graphs}
