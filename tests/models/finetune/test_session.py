import numpy as np
import onnxruntime as ort
import pytest

from models.finetune.errors import BadInputError
from models.finetune.parameters import FlatTensors
from models.finetune.session import (
    MicroBatch,
    TrainingSession,
    is_out_of_memory,
    merged_model,
)
from models.finetune.tensors import read_tensors

N = 7


@pytest.fixture
def graph(variant):
    return {graph.cut: graph for graph in variant.train_graphs}["exit"]


@pytest.fixture
def parameters(variant, graph):
    return FlatTensors.copied_from(read_tensors(variant.weights, graph.trainable))


@pytest.fixture(params=[True, False], ids=["arena", "no arena"])
def session(variant, graph, parameters, request):
    model = merged_model(graph.path, variant.weights, list(graph.frozen))
    return TrainingSession(model, parameters, threads=1, arena=request.param)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return MicroBatch(
        images=rng.integers(0, 255, (N, 32, 32, 3)).astype(np.uint8),
        labels=rng.integers(0, 2, N),
        weights=np.full(N, 1 / N, np.float32),
        dropout_mask=np.ones((N, 64), np.float32),
    )


def _piece(batch, at):
    return MicroBatch(
        images=batch.images[at],
        labels=batch.labels[at],
        weights=batch.weights[at],
        dropout_mask=batch.dropout_mask[at],
    )


def test_gradients_point_downhill(session, parameters, batch):
    gradients = FlatTensors(parameters.shapes)
    before = session.gradients(batch, gradients)
    slope = float(np.square(gradients.flat).sum())
    step = np.float32(1e-3 / np.sqrt(slope))
    parameters.flat -= step * gradients.flat
    after = session.gradients(batch, gradients)
    assert before - after == pytest.approx(float(step) * slope, rel=0.1)


def test_micro_batches_sum_to_the_batch(session, parameters, batch):
    whole, part = FlatTensors(parameters.shapes), FlatTensors(parameters.shapes)
    loss = session.gradients(batch, whole)
    pieces = [_piece(batch, slice(start, start + 3)) for start in range(0, N, 3)]
    total, summed = 0.0, np.zeros_like(whole.flat)
    for piece in pieces:
        total += session.gradients(piece, part)
        summed += part.flat
    assert total == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(summed, whole.flat, rtol=1e-4, atol=1e-6)


def test_logits_are_those_of_the_inference_graph(session, variant, batch):
    inference = ort.InferenceSession(str(variant.inference))
    expected = inference.run(["logits"], {"images": batch.images})[0]
    np.testing.assert_allclose(session.logits(batch.images), expected, rtol=1e-4, atol=1e-4)


def test_knows_its_units_and_features(session):
    assert (session.units, session.features) == (2, 64)
    session.require_units_for(2)
    with pytest.raises(BadInputError, match="classes"):
        session.require_units_for(3)


def test_a_graph_of_other_parameters_is_refused(variant, graph, parameters):
    model = merged_model(graph.path, variant.weights, list(graph.frozen))
    fewer = FlatTensors(dict(list(parameters.shapes.items())[1:]))
    with pytest.raises(BadInputError, match="disagree"):
        TrainingSession(model, fewer, threads=1)


def test_a_missing_frozen_parameter_is_refused(variant, graph, parameters):
    model = merged_model(graph.path, variant.weights, list(graph.frozen)[1:])
    with pytest.raises(BadInputError, match="onnxruntime refuses"):
        TrainingSession(model, parameters, threads=1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("node Conv: std::bad_alloc"), True),
        (RuntimeError("Failed to allocate memory for requested buffer of size 12"), True),
        (RuntimeError("shapes differ"), False),
    ],
)
def test_knows_a_failed_allocation_from_other_errors(error, expected):
    assert is_out_of_memory(error) is expected
