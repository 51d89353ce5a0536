"""A variant's files hold what they promise, for every family and cut."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from safetensors.numpy import load_file

from models.graphs import export_inference, export_train_graph, export_variant
from models.graphs.parity import random_step, run, torch_step
from models.networks import UnknownCutError
from models.onnx_bytes import read_initializers, replace_initializers, with_initializers
from tests.models.graphs.families import CUTS, SPECS, cut_of, network_of
from tests.models.graphs.tiny import largest_difference


@pytest.fixture(scope="module", params=SPECS)
def exported(request, tmp_path_factory):
    network = network_of(request.param)
    folder = tmp_path_factory.mktemp("variant")
    return network, export_variant(network, [cut_of(network, cut) for cut in CUTS], folder)


def train_model(files, cut):
    weights = load_file(files.weights)
    skeleton = cut.path.read_bytes()
    return with_initializers(skeleton, {name: weights[name] for name in cut.frozen})


def step(files, cut, feeds):
    weights = load_file(files.weights)
    outputs = ["loss", "logits", *(f"grad.{name}" for name in cut.trainable)]
    parameters = {name: weights[name] for name in cut.trainable}
    values = run(train_model(files, cut), outputs, feeds | parameters)
    return dict(zip(outputs, values, strict=True))


def test_torch_agrees_with_every_graph(exported):
    network, files = exported
    sets = [random_step(network, seed, 4) for seed in (30, 31, 32)]
    exact = [torch_step(network, feeds, torch.float64) for feeds in sets]

    for cut in files.train_graphs:
        pairs = [(step(files, cut, feeds), truth) for feeds, truth in zip(sets, exact, strict=True)]
        assert cut.largest_difference < 2e-4
        assert min(largest_difference(found, truth) for found, truth in pairs) < 2e-4


def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(exported):
    network, files = exported
    feeds = random_step(network, 3, 3)
    cut = files.train_graphs[1]

    first = step(files, cut, {name: value[:2] for name, value in feeds.items()})
    last = step(files, cut, {name: value[2:] for name, value in feeds.items()})
    del first["logits"], last["logits"]

    added = {name: first[name] + last[name] for name in first}
    whole = step(files, cut, feeds)
    assert largest_difference(added, whole) < 2e-5


def test_an_image_of_weight_zero_changes_nothing(exported):
    network, files = exported
    feeds = random_step(network, 4, 3)
    feeds["weights"][2] = 0.0
    cut = files.train_graphs[1]

    padded = step(files, cut, feeds)
    short = step(files, cut, {name: value[:2] for name, value in feeds.items()})

    assert padded.pop("logits").shape[0] == 3
    del short["logits"]
    assert largest_difference(padded, short) < 2e-5


def test_a_training_graph_stores_no_weights_and_names_all_of_them(exported):
    network, files = exported
    names = set(load_file(files.weights))

    for cut in files.train_graphs:
        graph = onnx.load(cut.path).graph
        inputs = {value.name for value in graph.input}
        written = {name for node in graph.node for name in node.output}
        stored = {tensor.name for tensor in graph.initializer}
        read = {name for node in graph.node for name in node.input if name}

        assert not stored & names
        assert set(cut.trainable) | set(cut.frozen) == names
        assert read - written - stored - inputs <= set(cut.frozen)
        assert inputs - set(cut.trainable) == (
            {"images", "labels", "weights"} | ({"dropout_mask"} if network.spec.dropout else set())
        )
        assert {value.name for value in graph.output} == (
            {"loss", "logits"} | {f"grad.{name}" for name in cut.trainable}
        )


def test_only_standard_operators_are_used(exported):
    _, files = exported

    for path in (files.inference, *(cut.path for cut in files.train_graphs)):
        model = onnx.load(path)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
        assert {node.domain for node in model.graph.node} == {""}
        assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_the_onnx_checker_accepts_every_graph(exported):
    _, files = exported

    onnx.checker.check_model(files.inference.read_bytes(), full_check=True)
    for cut in files.train_graphs:
        onnx.checker.check_model(train_model(files, cut), full_check=True)


def test_weights_and_inference_graph_hold_the_state_of_the_network(exported):
    network, files = exported
    state = {
        name: value.numpy()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    stored = read_initializers(files.inference.read_bytes())

    for name, value in load_file(files.weights).items():
        np.testing.assert_array_equal(value, state.pop(name))
        np.testing.assert_array_equal(value, stored[name])
    assert state == {}


def test_new_weights_put_into_the_inference_graph_change_its_answer_as_in_torch(exported):
    network, files = exported
    weights = load_file(files.weights)
    changed = {name: weights[name] * 1.1 for name in files.train_graphs[-1].trainable}
    images = random_step(network, 0)["images"]

    model = replace_initializers(files.inference.read_bytes(), changed)

    (logits,) = run(model, ["logits"], {"images": images})
    feeds = random_step(network, 0) | changed
    feeds.pop("dropout_mask", None)
    if network.spec.dropout:
        feeds["dropout_mask"] = np.ones((len(images), network.feature_width), np.float32)
    (expected,) = run(train_model(files, files.train_graphs[-1]), ["logits"], feeds)
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_inference_graph_answers_with_logits_and_features(exported):
    network, files = exported
    images = random_step(network, 0)["images"]

    logits, features = run(files.inference.read_bytes(), ["logits", "features"], {"images": images})

    assert logits.shape == (len(images), network.spec.head_units)
    assert features.shape == (len(images), network.feature_width)


def test_a_layers_gradients_are_done_before_the_layer_below_begins(exported, tmp_path):
    """Each block's gradients come whole, from head to stem: then activations are freed early."""
    network, files = exported
    cut = files.train_graphs[-1]

    ran = executed(train_model(files, cut), files, cut, network, tmp_path)

    gradients = [name for name in ran if name.startswith("grad.")]
    assert set(gradients) == {f"grad.{name}" for name in cut.trainable}
    blocks = [name.removeprefix("grad.").partition(".")[0] for name in gradients]
    assert list(dict.fromkeys(blocks)) == list(reversed(network.blocks))
    assert ran.index(gradients[0]) < 0.7 * len(ran)
    assert all(
        blocks[i] == blocks[i + 1] or blocks[i] not in blocks[i + 1 :]
        for i in range(len(blocks) - 1)
    )


def executed(model, files, cut, network, tmp_path):
    """Return the outputs of the nodes in the order in which onnxruntime ran them."""
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    weights = load_file(files.weights)
    session.run(None, random_step(network, 0) | {name: weights[name] for name in cut.trainable})
    events = json.loads(Path(session.end_profiling()).read_text())
    names = [event["name"] for event in events if event["name"].endswith("_kernel_time")]
    return [name.rpartition("/")[0] for name in names]


def test_one_graph_alone_can_be_exported():
    network = network_of("mobilenetv2")

    assert read_initializers(export_inference(network))
    assert onnx.load_from_string(export_train_graph(network, "head")).graph.name == "train_step"


def test_the_same_network_gives_the_same_bytes():
    network = network_of("mobilenetv2")

    assert export_inference(network) == export_inference(network)
    assert export_train_graph(network, "tail") == export_train_graph(network, "tail")


def test_an_unknown_cut_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UnknownCutError):
        export_variant(network_of("mobilenetv2"), ["head", "middle9"], tmp_path / "variant")

    assert not (tmp_path / "variant").exists()


def test_export_leaves_the_network_in_training_mode_where_it_was():
    network = network_of("mobilenetv2")
    network.train()
    try:
        before = {name: value.clone() for name, value in network.state_dict().items()}
        export_train_graph(network, "head")
        assert network.training
        state = network.state_dict()
        assert all(torch.equal(value, before[name]) for name, value in state.items())
    finally:
        network.eval()
