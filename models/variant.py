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


class NotExportedError(ValueError):
    """A folder that does not hold an exported variant."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder} holds no exported variant ({why}): train or export it again")
        self.folder = folder


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
    """Return what ``describe_variant`` described.

    Raises NotExportedError where nothing was exported, or other files lie there by now.
    """
    path = folder / VARIANT_FILE
    if not path.is_file():
        raise NotExportedError(folder, f"there is no {VARIANT_FILE}")
    variant = Variant.model_validate_json(path.read_bytes())
    files = VariantFiles(variant=variant, paths=_paths(variant, folder))
    for sha256, stored in files.paths.items():
        if not stored.is_file() or describe_artifact(stored, "weights").sha256 != sha256:
            raise NotExportedError(folder, f"{stored.name} is not the file that was exported")
    return files


def _paths(variant: Variant, folder: Path) -> dict[str, Path]:
    paths = {
        variant.weights.sha256: folder / WEIGHTS_FILE,
        variant.inference.sha256: folder / INFERENCE_FILE,
    }
    return paths | {g.artifact.sha256: folder / graph_file(g.cut) for g in variant.train_graphs}
