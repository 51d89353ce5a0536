"""What the rules share while one graph is written: where gradients flow, and what they are so far.

A value's gradient is the sum of what its readers send back; a rule runs once that sum is complete.
"""

from dataclasses import dataclass, field

from models.graphs.builder import Attribute, GraphBuilder
from models.graphs.steps import Norm, Shape, Step, Trace

CHANNEL_AXES = (0, 2, 3)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weight and bias that a convolution really applies: gains and BatchNorm folded in.

    ``unscaled`` is the weight without BatchNorm. ``scale`` [O] is what BatchNorm multiplies by,
    ``inverse_std`` [O] that without gamma.
    """

    weight: str
    bias: str | None
    unscaled: str
    scale: str | None = None
    inverse_std: str | None = None


@dataclass(kw_only=True)
class Emission:
    """One graph being written. Without ``trainable`` names it is an inference graph."""

    graph: GraphBuilder
    trace: Trace
    trainable: frozenset[str] = frozenset()
    flows: frozenset[str] = frozenset()
    weights: dict[str, Weights] = field(default_factory=dict)
    saved: dict[str, str] = field(default_factory=dict)
    _gradients: dict[str, list[str]] = field(default_factory=dict)

    def shape(self, name: str) -> Shape:
        """Return the shape of a value (per image) or of a parameter."""
        return self.trace.shapes[name]

    def image_shape(self, value: str) -> tuple[int, int, int]:
        """Return channels, height and width of a value that is an image."""
        channels, height, width = self.trace.shapes[value]
        return channels, height, width

    def send(self, value: str, gradient: str) -> None:
        """Add one term to the gradient of ``value``."""
        self._gradients.setdefault(value, []).append(gradient)

    def gradient(self, value: str) -> str:
        """Return the complete gradient of ``value``."""
        terms = self._gradients.pop(value)
        total = terms[0]
        for term in terms[1:]:
            total = self.graph.node("Add", total, term)
        return total

    def leaf(self, kind: str, *inputs: str, parameter: str, **attributes: Attribute) -> None:
        """Write the gradient of ``parameter``, where it trains, with a node that nothing reads.

        The node must do something: onnxruntime removes a Reshape to the same shape, and with it
        the place in the schedule that GraphBuilder gave it.
        """
        if parameter in self.trainable:
            self.graph.leaf(kind, *inputs, output=f"grad.{parameter}", **attributes)

    def channel_sum(self, value: str, *, parameter: str = "") -> str:
        """Return the sum of [N, C, H, W] over all but channels, as [C].

        It is the gradient of ``parameter``, where that is given and trains; others may read it.
        """
        axes = self.graph.integers(*CHANNEL_AXES)
        output = f"grad.{parameter}" if parameter in self.trainable else ""
        return self.graph.node("ReduceSum", value, axes, output=output, keepdims=0)


def flows(steps: tuple[Step, ...], trainable: frozenset[str]) -> frozenset[str]:
    """Return the values through which gradients flow: those that depend on what trains."""
    reached: set[str] = set()
    for step in steps:
        if trainable.intersection(step.parameters) or reached.intersection(step.inputs):
            reached.add(step.output)
    return frozenset(reached)


def norm_factors(emission: Emission, norm: Norm) -> tuple[str, str, str]:
    """Return scale, shift and inverse standard deviation: BatchNorm is x * scale + shift."""
    graph = emission.graph
    variance = graph.node("Add", norm.variance, graph.scalar(norm.epsilon))
    inverse_std = graph.node("Reciprocal", graph.node("Sqrt", variance))
    scale = graph.node("Mul", norm.weight, inverse_std)
    shift = graph.node("Sub", norm.bias, graph.node("Mul", norm.mean, scale))
    return scale, shift, inverse_std
