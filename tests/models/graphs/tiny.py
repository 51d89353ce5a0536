"""Networks of a few layers, and one training step of them in onnxruntime and in torch."""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from contract.architecture import MobileNetV2Spec
from models.graphs import parity
from models.graphs.trace import trace
from models.graphs.training import state_tensors, train_graph
from models.networks import Network, trainable_names
from models.onnx_bytes import with_initializers

WIDTH = 4


def tiny_network(layers, *, px=9, in_width=WIDTH, out_width=WIDTH, head_units=2, dropout=0.0):
    """Return stem (1x1 to ``in_width``), the layers under test, pooling and a head."""
    torch.manual_seed(0)
    network = Network(tiny_spec(px=px, head_units=head_units, dropout=dropout))
    network.add_block("stem", row(nn.Conv2d(3, in_width, 1)))
    network.add_block("under", layers)
    network.add_block("tail", row(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    network.add_head(out_width)
    return settled(network)


def tiny_spec(*, px=9, head_units=2, dropout=0.0):
    return MobileNetV2Spec.model_construct(
        family="mobilenetv2",
        input_px=px,
        in_channels=3,
        head_units=head_units,
        dropout=dropout,
        width_multiplier=1.0,
    )


def row(*layers):
    """Return the layers one after another, named l0, l1..."""
    return nn.Sequential(OrderedDict((f"l{i}", layer) for i, layer in enumerate(layers)))


def settled(network, *, n_images=8):
    """Give every BatchNorm statistics that fit and unlike parameters; return for inference."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, 0.0, 0.2)
    with torch.no_grad():
        network.train()(torch.rand(n_images, *network.input_shape) * 2 - 1)
    return network.eval()


def graph_step(network, cut, feeds):
    """Return loss, logits and gradients of one step of the exported graph."""
    names = trainable_names(network, cut)
    tensors = state_tensors(network)
    trained = {name: tensors.pop(name) for name in names}
    model = with_initializers(train_graph(trace(network), names), tensors)
    outputs = ["loss", "logits", *(f"grad.{name}" for name in names)]
    return dict(zip(outputs, parity.run(model, outputs, feeds | trained), strict=True))


def largest_difference(found, exact):
    """Return the largest difference over all values, each relative to its largest number."""
    return max(
        float(np.abs(value - exact[name]).max()) / max(float(np.abs(exact[name]).max()), 1e-6)
        for name, value in found.items()
    )
