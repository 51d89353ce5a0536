"""Traces a network into steps with ``torch.fx``.

The tables below name every layer that can be exported. Inference semantics: BatchNorm uses its
stored statistics. It neither emits ONNX nor reads weights, except for their shapes.
"""

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from models.graphs.errors import UnknownLayerError
from models.graphs.steps import (
    Activation,
    ActivationKind,
    Add,
    BatchNorm,
    Conv,
    Dropout,
    Flatten,
    GlobalMaxPool,
    GlobalPool,
    Linear,
    MaxPool,
    Multiply,
    Norm,
    Pad,
    Pads,
    Pair,
    Shape,
    Step,
    Trace,
)
from models.networks import Network

Maker = Callable[[str, nn.Module, tuple[str, ...], str], Step]


def trace(network: Network) -> Trace:
    """Return the steps of ``network``; raises UnknownLayerError."""
    graph = fx.Tracer().trace(network)
    steps = [
        _step(network, node) for node in graph.nodes if node.op not in {"placeholder", "output"}
    ]
    source = next(node for node in graph.nodes if node.op == "placeholder")
    head = next(
        node
        for node in graph.nodes
        if node.op == "call_module" and str(node.target).startswith(f"{network.blocks[-1]}.")
    )
    end = next(node for node in graph.nodes if node.op == "output")
    return Trace(
        steps=_fuse(steps),
        shapes=_shapes(network, graph),
        source=_value(source),
        features=_value(head.args[0]),
        logits=_value(end.args[0]),
    )


def _value(node: object) -> str:
    """Return the name of a node's value, apart from all names of inputs and parameters."""
    return f"value.{node}"


def _shapes(network: Network, graph: fx.Graph) -> dict[str, Shape]:
    """Return the shape per image of every value, and of every parameter."""
    sample = torch.zeros(1, *network.input_shape, device=next(network.parameters()).device)
    was_training = network.training
    network.eval()
    try:
        ShapeProp(fx.GraphModule(network, graph)).propagate(sample)
    finally:
        network.train(was_training)
    values = {
        _value(node): tuple(node.meta["tensor_meta"].shape[1:])
        for node in graph.nodes
        if node.op != "output"
    }
    return values | {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _step(network: Network, node: fx.Node) -> Step:
    inputs = tuple(_value(arg) for arg in node.args if isinstance(arg, fx.Node))
    if node.op == "call_module":
        name = str(node.target)
        module = network.get_submodule(name)
        maker = _MODULES.get(type(module))
        if maker is None:
            raise UnknownLayerError(name, type(module).__name__)
        return maker(name, module, inputs, _value(node))
    kind = _FUNCTIONS.get(node.target)
    operands = 2
    if kind is None or len(inputs) != operands:
        raise UnknownLayerError(node.name, str(node.target))
    return kind(inputs=inputs, output=_value(node))


def _fuse(steps: list[Step]) -> tuple[Step, ...]:
    """Merge neighbours that are one linear map, where nothing else reads between them.

    A BatchNorm goes into the convolution before it, a 1x1 depthwise convolution (one factor per
    channel) into the pointwise one after it: fewer activations are kept for the backward pass.
    """
    readers = Counter(value for step in steps for value in step.inputs)
    fused: list[Step] = []
    for step in steps:
        before = fused[-1] if fused else None
        merged = None
        if isinstance(before, Conv) and step.inputs == (before.output,):
            merged = _merged(before, step) if readers[before.output] == 1 else None
        if merged is None:
            fused.append(step)
        else:
            fused[-1] = merged
    return tuple(fused)


def _merged(before: Conv, step: Step) -> Step | None:
    if isinstance(step, BatchNorm) and before.norm is None:
        return replace(before, norm=step.norm, output=step.output)
    bare = before.bias is None and before.norm is None and before.stride == (1, 1)
    if isinstance(step, Conv) and step.is_pointwise and before.is_channelwise and bare:
        return replace(step, gains=before.weight, inputs=before.inputs)
    return None


def _conv(name: str, module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
    assert isinstance(module, nn.Conv2d)  # noqa: S101  # the table says so
    plain = module.padding_mode == "zeros" and _pair(module.dilation) == (1, 1)
    depthwise = module.groups == module.in_channels == module.out_channels
    if not plain or isinstance(module.padding, str) or (module.groups > 1 and not depthwise):
        raise UnknownLayerError(name, f"layer such as {module}")
    return Conv(
        inputs=inputs,
        output=output,
        weight=f"{name}.weight",
        bias=None if module.bias is None else f"{name}.bias",
        norm=None,
        kernel=_pair(module.kernel_size),
        stride=_pair(module.stride),
        pads=_symmetric(module.padding),
        groups=module.groups,
    )


def _batchnorm(name: str, module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
    assert isinstance(module, nn.BatchNorm2d)  # noqa: S101  # the table says so
    if not module.state_dict().keys() >= {"weight", "bias", "running_mean", "running_var"}:
        raise UnknownLayerError(name, f"layer such as {module}")
    norm = Norm(
        weight=f"{name}.weight",
        bias=f"{name}.bias",
        mean=f"{name}.running_mean",
        variance=f"{name}.running_var",
        epsilon=module.eps,
    )
    return BatchNorm(inputs=inputs, output=output, norm=norm)


def _linear(name: str, module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
    bias = f"{name}.bias" if "bias" in dict(module.named_parameters()) else None
    return Linear(inputs=inputs, output=output, weight=f"{name}.weight", bias=bias)


def _maxpool(name: str, module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
    assert isinstance(module, nn.MaxPool2d)  # noqa: S101  # the table says so
    if any((module.ceil_mode, module.return_indices, _pair(module.dilation) != (1, 1))):
        raise UnknownLayerError(name, f"layer such as {module}")
    return MaxPool(
        inputs=inputs,
        output=output,
        kernel=_pair(module.kernel_size),
        stride=_pair(module.stride),
        pads=_symmetric(module.padding),
    )


def _zero_pad(_name: str, module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
    assert isinstance(module, nn.ZeroPad2d)  # noqa: S101  # the table says so
    left, right, top, bottom = module.padding
    return Pad(inputs=inputs, output=output, pads=(top, left, bottom, right))


def _global_pool(name: str, module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
    assert isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d)  # noqa: S101  # as above
    if str(module.output_size) not in {"1", "(1, 1)"}:
        raise UnknownLayerError(name, f"layer such as {module}")
    kind = GlobalPool if isinstance(module, nn.AdaptiveAvgPool2d) else GlobalMaxPool
    return kind(inputs=inputs, output=output)


def _flatten(name: str, module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
    assert isinstance(module, nn.Flatten)  # noqa: S101  # the table says so
    if (module.start_dim, module.end_dim) != (1, -1):
        raise UnknownLayerError(name, f"layer such as {module}")
    return Flatten(inputs=inputs, output=output)


def _dropout(_name: str, _module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
    return Dropout(inputs=inputs, output=output)


def _activation(kind: ActivationKind) -> Maker:
    def make(_name: str, _module: nn.Module, inputs: tuple[str, ...], output: str) -> Step:
        return Activation(inputs=inputs, output=output, kind=kind)

    return make


_MODULES: dict[type[nn.Module], Maker] = {
    nn.Conv2d: _conv,
    nn.BatchNorm2d: _batchnorm,
    nn.Linear: _linear,
    nn.ReLU: _activation("relu"),
    nn.ReLU6: _activation("relu6"),
    nn.SiLU: _activation("silu"),
    nn.Sigmoid: _activation("sigmoid"),
    nn.MaxPool2d: _maxpool,
    nn.ZeroPad2d: _zero_pad,
    nn.AdaptiveAvgPool2d: _global_pool,
    nn.AdaptiveMaxPool2d: _global_pool,
    nn.Flatten: _flatten,
    nn.Dropout: _dropout,
}
_FUNCTIONS: dict[object, type[Add] | type[Multiply]] = {
    operator.add: Add,
    torch.add: Add,
    operator.mul: Multiply,
    torch.mul: Multiply,
}


def _pair(value: int | tuple[int, ...]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _symmetric(padding: int | tuple[int, ...]) -> Pads:
    rows, columns = _pair(padding)
    return (rows, columns, rows, columns)
