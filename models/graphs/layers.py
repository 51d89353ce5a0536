"""The forward and backward rules of all layers but convolutions."""

from models.graphs.convolution import pad
from models.graphs.emission import CHANNEL_AXES, Emission, norm_factors
from models.graphs.steps import (
    Activation,
    Add,
    BatchNorm,
    Dropout,
    Flatten,
    GlobalMaxPool,
    GlobalPool,
    Linear,
    MaxPool,
    Multiply,
    Pad,
    Shape,
)

DROPOUT_MASK = "dropout_mask"


def batchnorm_forward(emission: Emission, step: BatchNorm) -> None:
    graph, norm, x = emission.graph, step.norm, step.inputs[0]
    if step.output not in emission.flows:
        tensors = (norm.weight, norm.bias, norm.mean, norm.variance)
        graph.node("BatchNormalization", x, *tensors, output=step.output, epsilon=norm.epsilon)
        return
    by_channel = graph.integers(-1, 1, 1)
    scale, shift, _ = norm_factors(emission, norm)
    scaled = graph.node("Mul", x, graph.node("Reshape", scale, by_channel))
    graph.node("Add", scaled, graph.node("Reshape", shift, by_channel), output=step.output)


def batchnorm_backward(emission: Emission, step: BatchNorm, dy: str) -> None:
    """Write dgamma = sum of dy * (x - mean) / std, dbeta = sum of dy, dx = dy * scale."""
    graph, norm, x = emission.graph, step.norm, step.inputs[0]
    by_channel = graph.integers(-1, 1, 1)
    scale, _, inverse_std = norm_factors(emission, norm)
    centred = graph.node("Sub", x, graph.node("Reshape", norm.mean, by_channel))
    reached = emission.channel_sum(graph.node("Mul", centred, dy))
    emission.leaf("Mul", reached, inverse_std, parameter=norm.weight)
    axes = graph.integers(*CHANNEL_AXES)
    emission.leaf("ReduceSum", dy, axes, parameter=norm.bias, keepdims=0)
    if x in emission.flows:
        emission.send(x, graph.node("Mul", dy, graph.node("Reshape", scale, by_channel)))


def linear_forward(emission: Emission, step: Linear) -> None:
    tensors = (step.weight,) if step.bias is None else (step.weight, step.bias)
    emission.graph.node("Gemm", step.inputs[0], *tensors, output=step.output, transB=1)


def linear_backward(emission: Emission, step: Linear, dy: str) -> None:
    graph, x = emission.graph, step.inputs[0]
    emission.leaf("Gemm", dy, x, parameter=step.weight, transA=1)
    if step.bias is not None:
        total = graph.integers(0)
        emission.leaf("ReduceSum", dy, total, parameter=step.bias, keepdims=0)
    if x in emission.flows:
        emission.send(x, graph.node("Gemm", dy, step.weight))


def activation_forward(emission: Emission, step: Activation) -> None:
    graph, x = emission.graph, step.inputs[0]
    if step.kind == "relu":
        graph.node("Relu", x, output=step.output)
    elif step.kind == "relu6":
        graph.node("Clip", x, graph.scalar(0.0), graph.scalar(6.0), output=step.output)
    elif step.kind == "sigmoid":
        graph.node("Sigmoid", x, output=step.output)
    else:
        graph.node("Mul", x, graph.node("Sigmoid", x), output=step.output)


def activation_backward(emission: Emission, step: Activation, dy: str) -> None:
    """Send dy times the slope, taken from the output, which a later layer mostly keeps anyway."""
    graph, x, y = emission.graph, step.inputs[0], step.output
    zero = graph.scalar(0.0)
    if step.kind == "relu":
        slope = graph.node("Cast", graph.node("Greater", y, zero), to=1)
    elif step.kind == "relu6":
        below = graph.node("Less", y, graph.scalar(6.0))
        inside = graph.node("And", graph.node("Greater", y, zero), below)
        slope = graph.node("Cast", inside, to=1)
    elif step.kind == "sigmoid":
        slope = graph.node("Mul", y, graph.node("Sub", graph.scalar(1.0), y))
    else:
        slope = _silu_slope(emission, x)
    emission.send(x, graph.node("Mul", dy, slope))


def _silu_slope(emission: Emission, x: str) -> str:
    """Return s * (1 + x * t) with s = sigmoid(x) and t = sigmoid(-x) = 1 - s.

    Written with t alone: the forward pass computes s, and onnxruntime would keep that s alive
    until here rather than compute it again.
    """
    graph, one = emission.graph, emission.graph.scalar(1.0)
    t = graph.node("Sigmoid", graph.node("Neg", x))
    bent = graph.node("Add", graph.node("Mul", x, t), one)
    return graph.node("Mul", graph.node("Sub", one, t), bent)


def maxpool_forward(emission: Emission, step: MaxPool) -> None:
    outputs: tuple[str, ...] = (step.output,)
    if step.inputs[0] in emission.flows:
        emission.saved[step.output] = f"{step.output}.indices"
        outputs = (step.output, f"{step.output}.indices")
    emission.graph.nodes(
        "MaxPool",
        step.inputs,
        outputs,
        kernel_shape=step.kernel,
        strides=step.stride,
        pads=step.pads,
    )


def maxpool_backward(emission: Emission, step: MaxPool, dy: str) -> None:
    """Add every gradient where its maximum came from; windows overlap, so they add up."""
    graph, x = emission.graph, step.inputs[0]
    flat = graph.integers(-1)
    channels, height, width = emission.image_shape(x)
    shape = graph.integers(-1, channels, height, width)
    count = graph.node("Shape", dy, start=0, end=1)
    size = graph.node("Mul", count, graph.integers(channels * height * width))
    zeros = graph.node("ConstantOfShape", size)
    indices = graph.node("Reshape", emission.saved[step.output], flat)
    spread = graph.node(
        "ScatterElements",
        zeros,
        indices,
        graph.node("Reshape", dy, flat),
        axis=0,
        reduction="add",
    )
    emission.send(x, graph.node("Reshape", spread, shape))


def pad_forward(emission: Emission, step: Pad) -> None:
    pad(emission, step.inputs[0], step.pads, output=step.output)


def pad_backward(emission: Emission, step: Pad, dy: str) -> None:
    graph, x = emission.graph, step.inputs[0]
    _, height, width = emission.image_shape(x)
    top, left, _, _ = step.pads
    start, end = graph.integers(top, left), graph.integers(top + height, left + width)
    emission.send(x, graph.node("Slice", dy, start, end, graph.integers(2, 3)))


def global_pool_forward(emission: Emission, step: GlobalPool) -> None:
    emission.graph.node("GlobalAveragePool", step.inputs[0], output=step.output)


def global_pool_backward(emission: Emission, step: GlobalPool, dy: str) -> None:
    graph, x = emission.graph, step.inputs[0]
    _, height, width = emission.image_shape(x)
    share = graph.node("Mul", dy, graph.scalar(1.0 / (height * width)))
    emission.send(x, graph.node("Expand", share, graph.integers(1, 1, height, width)))


def global_max_pool_forward(emission: Emission, step: GlobalMaxPool) -> None:
    emission.graph.node("GlobalMaxPool", step.inputs[0], output=step.output)


def global_max_pool_backward(emission: Emission, step: GlobalMaxPool, dy: str) -> None:
    """Send dy to the largest pixel; to all of them where several are equally large.

    torch sends it to the first of them. After a ReLU the ties are zeros, which pass nothing on.
    """
    graph, x = emission.graph, step.inputs[0]
    largest = graph.node("Cast", graph.node("Equal", x, step.output), to=1)
    emission.send(x, graph.node("Mul", largest, dy))


def flatten_forward(emission: Emission, step: Flatten) -> None:
    emission.graph.node("Flatten", step.inputs[0], output=step.output, axis=1)


def flatten_backward(emission: Emission, step: Flatten, dy: str) -> None:
    graph, x = emission.graph, step.inputs[0]
    emission.send(x, graph.node("Reshape", dy, graph.integers(-1, *emission.shape(x))))


def dropout_forward(emission: Emission, step: Dropout) -> None:
    kind, mask = ("Mul", (DROPOUT_MASK,)) if emission.trainable else ("Identity", ())
    emission.graph.node(kind, step.inputs[0], *mask, output=step.output)


def dropout_backward(emission: Emission, step: Dropout, dy: str) -> None:
    emission.send(step.inputs[0], emission.graph.node("Mul", dy, DROPOUT_MASK))


def add_forward(emission: Emission, step: Add) -> None:
    emission.graph.node("Add", *step.inputs, output=step.output)


def add_backward(emission: Emission, step: Add, dy: str) -> None:
    for value in step.inputs:
        if value in emission.flows:
            emission.send(value, dy)


def multiply_forward(emission: Emission, step: Multiply) -> None:
    emission.graph.node("Mul", *step.inputs, output=step.output)


def multiply_backward(emission: Emission, step: Multiply, dy: str) -> None:
    """Send dy times the other factor, summed over the pixels that shared one factor."""
    graph = emission.graph
    for value, other in (step.inputs, step.inputs[::-1]):
        if value not in emission.flows:
            continue
        gradient = graph.node("Mul", dy, other)
        axes = _shared_axes(emission.shape(value), emission.shape(step.output))
        if axes:
            gradient = graph.node("ReduceSum", gradient, graph.integers(*axes), keepdims=1)
        emission.send(value, gradient)


def _shared_axes(shape: Shape, result: Shape) -> tuple[int, ...]:
    pairs = enumerate(zip(shape, result, strict=True), start=1)
    return tuple(axis for axis, (own, full) in pairs if own != full)
