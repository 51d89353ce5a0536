"""From a torch network to plain ONNX: the inference graph and one training-step graph per cut.

A network is traced into a flat list of steps, each step kind has one forward and one backward
rule, and nothing leaves before torch and onnxruntime agree. Only the lab imports this package:
it brings torch. The box runs the results with onnxruntime and numpy.
"""

from models.graphs.errors import ExportDisagreesError, GraphError, UnknownLayerError
from models.graphs.export import (
    ExportedCut,
    ExportedVariant,
    export_inference,
    export_train_graph,
    export_variant,
)

__all__ = [
    "ExportDisagreesError",
    "ExportedCut",
    "ExportedVariant",
    "GraphError",
    "UnknownLayerError",
    "export_inference",
    "export_train_graph",
    "export_variant",
]
