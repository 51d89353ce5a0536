"""The rules of convolutions, dense, pointwise and depthwise, with the BatchNorm that follows.

Where gradients flow, BatchNorm with frozen statistics is folded into the weights:
w' = w * scale, b' = b * scale + shift. Its backward pass then needs no activation at all, since
the sum over positions of dy * conv(x, w) is the sum of w * dw'. Elsewhere convolution and
BatchNormalization are written as such and onnxruntime folds them.
The forms are those that onnxruntime 1.32 runs fastest on one CPU thread: depthwise weight
gradients tap by tap (2.3 ms; as a grouped convolution 7.0), dense input gradients as
ConvTranspose (0.5 ms; as a convolution with turned weights 1.1), those of depthwise layers as
that convolution (2.4 ms; as ConvTranspose 2.8, but 1.5 against 5.9 where the stride is 2).
"""

from dataclasses import replace

import numpy as np

from models.graphs.emission import CHANNEL_AXES, Emission, Weights, norm_factors
from models.graphs.steps import Conv, Norm, Pads

_INT64_MIN = int(np.iinfo(np.int64).min)


def forward(emission: Emission, step: Conv) -> None:
    """Write the convolution and its BatchNorm."""
    x, norm = step.inputs[0], step.norm
    if step.output in emission.flows:
        _forward_folded(emission, step)
        return
    weights = (_with_gains(emission, step), step.bias)
    between = step.output if norm is None else f"{step.output}.conv"
    _convolve(emission, step, x, weights, between)
    if norm is not None:
        tensors = (norm.weight, norm.bias, norm.mean, norm.variance)
        emission.graph.node(
            "BatchNormalization", between, *tensors, output=step.output, epsilon=norm.epsilon
        )


def backward(emission: Emission, step: Conv, dy: str) -> None:
    """Write the gradients of the parameters, then of the input where it needs one."""
    weights = emission.weights[step.output]
    if emission.trainable.intersection(step.parameters):
        _parameter_gradients(emission, step, weights, dy)
    if step.inputs[0] in emission.flows:
        emission.send(step.inputs[0], _input_gradient(emission, step, weights.weight, dy))


def _convolve(
    emission: Emission, step: Conv, x: str, weights: tuple[str, str | None], output: str
) -> str:
    weight, bias = weights
    tensors = (x, weight) if bias is None else (x, weight, bias)
    return emission.graph.node(
        "Conv",
        *tensors,
        output=output,
        kernel_shape=step.kernel,
        strides=step.stride,
        pads=step.pads,
        group=step.groups,
    )


def _forward_folded(emission: Emission, step: Conv) -> None:
    weights = _folded(emission, step)
    emission.weights[step.output] = weights
    x = _visible(emission, step)
    emission.saved[step.output] = x
    seen = step if x == step.inputs[0] else replace(step, stride=(1, 1))
    _convolve(emission, seen, x, (weights.weight, weights.bias), step.output)


def _folded(emission: Emission, step: Conv) -> Weights:
    graph = emission.graph
    unscaled = _with_gains(emission, step)
    if step.norm is None:
        return Weights(weight=unscaled, bias=step.bias, unscaled=unscaled)
    scale, shift, inverse_std = norm_factors(emission, step.norm)
    if step.bias is not None:
        shift = graph.node("Add", graph.node("Mul", step.bias, scale), shift)
    return Weights(
        weight=graph.node("Mul", unscaled, _by_filter(emission, scale)),
        bias=shift,
        unscaled=unscaled,
        scale=scale,
        inverse_std=inverse_std,
    )


def _with_gains(emission: Emission, step: Conv) -> str:
    """Return the weight [O, I, 1, 1] times its gains [I, 1, 1, 1], where it has any."""
    if step.gains is None:
        return step.weight
    return emission.graph.node("Mul", step.weight, _by_input(emission, step.gains))


def _by_filter(emission: Emission, vector: str) -> str:
    return emission.graph.node("Reshape", vector, emission.graph.integers(-1, 1, 1, 1))


def _by_input(emission: Emission, gains: str) -> str:
    return emission.graph.node("Reshape", gains, emission.graph.integers(1, -1, 1, 1))


def _visible(emission: Emission, step: Conv) -> str:
    """Return the input, or of a strided pointwise convolution only the pixels that it reads."""
    if not step.is_pointwise or step.stride == (1, 1):
        return step.inputs[0]
    graph = emission.graph
    _, height, width = emission.image_shape(step.inputs[0])
    return graph.node(
        "Slice",
        step.inputs[0],
        graph.integers(0, 0),
        graph.integers(height, width),
        graph.integers(2, 3),
        graph.integers(*step.stride),
    )


def _parameter_gradients(emission: Emission, step: Conv, weights: Weights, dy: str) -> None:
    graph, norm, scale = emission.graph, step.norm, weights.scale
    dw = _weight_gradient(emission, step, dy)
    shape = graph.integers(*emission.shape(step.weight))
    if norm is None or scale is None:
        if step.gains is None:
            emission.leaf("Reshape", dw, shape, parameter=step.weight)
        else:
            _gained_gradients(emission, step, step.gains, graph.node("Reshape", dw, shape))
        if step.bias is not None:
            axes = graph.integers(*CHANNEL_AXES)
            emission.leaf("ReduceSum", dy, axes, parameter=step.bias, keepdims=0)
        return
    dw = graph.node("Reshape", dw, shape)
    if step.gains is None:
        emission.leaf("Mul", dw, _by_filter(emission, scale), parameter=step.weight)
    else:
        scaled = graph.node("Mul", dw, _by_filter(emission, scale))
        _gained_gradients(emission, step, step.gains, scaled)
    _norm_gradients(emission, step, norm, (dw, dy))


def _gained_gradients(emission: Emission, step: Conv, gains: str, dw: str) -> None:
    """Write the gradients of the weight and of its gains, given that of their product."""
    graph = emission.graph
    emission.leaf("Mul", dw, _by_input(emission, gains), parameter=step.weight)
    by_channel = graph.node("ReduceSum", graph.node("Mul", dw, step.weight), graph.integers(0))
    emission.leaf("Reshape", by_channel, graph.integers(-1, 1, 1, 1), parameter=gains)


def _norm_gradients(emission: Emission, step: Conv, norm: Norm, gradients: tuple[str, str]) -> None:
    """Write dgamma = (sum of w * dw' + (b - mean) * sum of dy) / std, and dbeta = sum of dy."""
    graph, weights = emission.graph, emission.weights[step.output]
    dw, dy = gradients
    total = emission.channel_sum(dy, parameter=norm.bias)
    product = graph.node("Mul", dw, weights.unscaled)
    reached = graph.node("ReduceSum", product, graph.integers(1, 2, 3), keepdims=0)
    centre = graph.node("Neg", norm.mean)
    if step.bias is not None:
        emission.leaf("Mul", total, weights.scale or "", parameter=step.bias)
        centre = graph.node("Add", step.bias, centre)
    reached = graph.node("Add", reached, graph.node("Mul", centre, total))
    emission.leaf("Mul", reached, weights.inverse_std or "", parameter=norm.weight)


def _weight_gradient(emission: Emission, step: Conv, dy: str) -> str:
    """Return the gradient of the applied weight, in any shape of the right order."""
    if step.is_pointwise:
        return _matrix_gradient(emission, step, emission.saved[step.output], dy)
    if step.groups > 1:
        return _depthwise_gradient(emission, step, dy)
    columns = [_column(emission, step, window, dy) for window in _windows(emission, step)]
    return columns[0] if len(columns) == 1 else emission.graph.node("Concat", *columns, axis=2)


def _column(emission: Emission, step: Conv, window: str, dy: str) -> str:
    graph = emission.graph
    matrix = _matrix_gradient(emission, step, window, dy)
    return graph.node("Unsqueeze", matrix, graph.integers(2))


def _matrix_gradient(emission: Emission, step: Conv, x: str, dy: str) -> str:
    """Return [O, I]: the sum over images of dy [O, pixels] times x [I, pixels] transposed.

    One product per image and a sum over them, unless the images are so small that bringing all
    their pixels into one long row costs less than those products take room.
    """
    graph = emission.graph
    outputs, height, width = emission.image_shape(step.output)
    inputs = emission.image_shape(step.inputs[0])[0]
    pixels = height * width
    left = graph.node("Reshape", dy, graph.integers(0, outputs, pixels))
    right = graph.node("Reshape", x, graph.integers(0, inputs, pixels))
    right = graph.node("Transpose", right, perm=(0, 2, 1))
    if pixels * (inputs + outputs) < inputs * outputs:
        left = graph.node("Transpose", left, perm=(1, 0, 2))
        left = graph.node("Reshape", left, graph.integers(outputs, -1))
        right = graph.node("Reshape", right, graph.integers(-1, inputs))
        return graph.node("MatMul", left, right)
    product = graph.node("MatMul", left, right)
    return graph.node("ReduceSum", product, graph.integers(0), keepdims=0)


def _depthwise_gradient(emission: Emission, step: Conv, dy: str) -> str:
    """Return [C, taps]: for every tap the sum of dy times the input that the tap saw."""
    graph, column = emission.graph, emission.graph.integers(1)
    sums = [
        graph.node("Unsqueeze", emission.channel_sum(graph.node("Mul", window, dy)), column)
        for window in _windows(emission, step)
    ]
    return sums[0] if len(sums) == 1 else graph.node("Concat", *sums, axis=1)


def _windows(emission: Emission, step: Conv) -> list[str]:
    """Return for every tap of the kernel, in order, the pixels that it reads: [N, I, H', W']."""
    graph = emission.graph
    x = pad(emission, emission.saved[step.output], step.pads)
    if step.kernel == (1, 1) and step.stride == (1, 1):
        return [x]
    _, height, width = emission.image_shape(step.output)
    rows, columns = step.stride
    spans = ((height - 1) * rows + 1, (width - 1) * columns + 1)
    return [
        graph.node(
            "Slice",
            x,
            graph.integers(top, left),
            graph.integers(top + spans[0], left + spans[1]),
            graph.integers(2, 3),
            graph.integers(rows, columns),
        )
        for top in range(step.kernel[0])
        for left in range(step.kernel[1])
    ]


def pad(emission: Emission, x: str, pads: Pads, *, output: str = "") -> str:
    """Return ``x`` with zeros around the image."""
    if not any(pads) and not output:
        return x
    graph = emission.graph
    top, left, bottom, right = pads
    sizes = graph.integers(0, 0, top, left, 0, 0, bottom, right)
    return graph.node("Pad", x, sizes, graph.scalar(0.0), output=output)


def _input_gradient(emission: Emission, step: Conv, weight: str, dy: str) -> str:
    if step.is_pointwise:
        return _pointwise_input_gradient(emission, step, weight, dy)
    rows, columns = step.kernel
    top, left, bottom, right = step.pads
    pads = (rows - 1 - top, columns - 1 - left, rows - 1 - bottom, columns - 1 - right)
    if step.groups == 1 or step.stride != (1, 1) or min(pads) < 0:
        return _transposed(emission, step, weight, dy)
    return emission.graph.node(
        "Conv",
        dy,
        _turned(emission, step, weight),
        kernel_shape=step.kernel,
        pads=pads,
        group=step.groups,
    )


def _turned(emission: Emission, step: Conv, weight: str) -> str:
    """Return the depthwise weight with every filter rotated by half a turn."""
    if step.kernel == (1, 1):
        return weight
    graph = emission.graph
    ends = graph.integers(_INT64_MIN, _INT64_MIN)
    back = graph.integers(-1, -1)
    return graph.node("Slice", weight, back, ends, graph.integers(2, 3), back)


def _transposed(emission: Emission, step: Conv, weight: str, dy: str) -> str:
    _, height, width = emission.image_shape(step.inputs[0])
    top, left, bottom, right = step.pads
    extra = (
        (height + top + bottom - step.kernel[0]) % step.stride[0],
        (width + left + right - step.kernel[1]) % step.stride[1],
    )
    return emission.graph.node(
        "ConvTranspose",
        dy,
        weight,
        kernel_shape=step.kernel,
        strides=step.stride,
        pads=step.pads,
        output_padding=extra,
        group=step.groups,
    )


def _pointwise_input_gradient(emission: Emission, step: Conv, weight: str, dy: str) -> str:
    graph = emission.graph
    turned = graph.node("Transpose", weight, perm=(1, 0, 2, 3))
    dx = graph.node("Conv", dy, turned, kernel_shape=(1, 1))
    if step.stride == (1, 1):
        return dx
    return _spread(emission, step, dx)


def _spread(emission: Emission, step: Conv, dx: str) -> str:
    """Return the gradient with zeros at the pixels that the stride skipped."""
    graph = emission.graph
    channels, height, width = emission.image_shape(step.inputs[0])
    rows, columns = step.stride
    _, out_height, out_width = emission.image_shape(step.output)
    cells = graph.node("Reshape", dx, graph.integers(0, channels, out_height, 1, out_width, 1))
    after = graph.integers(0, 0, 0, 0, 0, 0, 0, 0, 0, rows - 1, 0, columns - 1)
    cells = graph.node("Pad", cells, after, graph.scalar(0.0))
    full = (out_height * rows, out_width * columns)
    image = graph.node("Reshape", cells, graph.integers(0, channels, *full))
    if full == (height, width):
        return image
    start, end, axes = graph.integers(0, 0), graph.integers(height, width), graph.integers(2, 3)
    return graph.node("Slice", image, start, end, axes)
