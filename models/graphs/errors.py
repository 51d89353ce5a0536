"""What can go wrong between a network and its graphs, with the facts that tell why."""


class GraphError(Exception):
    """The parent of every error of this package."""


class UnknownLayerError(GraphError):
    """A layer or operation that has no rule."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        super().__init__(
            f"{name} is a {kind}, which cannot be exported; build the network from the layers "
            "listed in models/graphs/trace.py or add a rule with its gradient test"
        )


class ExportDisagreesError(GraphError):
    """Torch and onnxruntime compute different values: the export is wrong and was not written."""

    def __init__(self, value: str, difference: float, allowed: float) -> None:
        self.value = value
        self.difference = difference
        self.allowed = allowed
        super().__init__(
            f"{value} differs from torch by {difference:.3g} of its size, allowed is "
            f"{allowed:.3g}; the rule of that layer is wrong, or the weights make it unstable"
        )
