import numpy as np
import pytest

from models.finetune.delivery import (
    latency_ms,
    predictor,
    require_agreement,
    write_model,
)
from models.finetune.errors import BadInputError, ModelsDisagreeError
from models.onnx_bytes import read_initializers


def test_writes_the_parameters_by_name_and_nothing_else(variant, tmp_path):
    target = tmp_path / "model.onnx"
    old = read_initializers(variant.inference.read_bytes())
    name = next(n for n in old if n.startswith("head.") and n.endswith("weight"))
    changed = np.full_like(old[name], 0.5)
    write_model(variant.inference, {name: changed}, target)
    new = read_initializers(target.read_bytes())
    assert np.array_equal(new[name], changed)
    assert all(np.array_equal(new[n], old[n]) for n in old if n != name)


def test_refuses_parameters_that_the_model_does_not_hold(variant, tmp_path):
    known = next(iter(read_initializers(variant.inference.read_bytes())))
    for name in ("no.such", known):
        wrong = {name: np.zeros((3, 1, 4, 1), np.float32)}
        with pytest.raises(BadInputError, match="fetch"):
            write_model(variant.inference, wrong, tmp_path / "model.onnx")


def test_agreement_is_within_a_ten_thousandth_of_the_logits_size():
    training = np.array([[1.0, 100.0]], np.float32)
    require_agreement(training + np.float32(5e-5), training)
    require_agreement(training * np.float32(1.00005), training)
    with pytest.raises(ModelsDisagreeError) as caught:
        require_agreement(training + np.float32(0.02), training)
    assert caught.value.difference == pytest.approx(0.02, rel=0.01)


def test_logits_that_are_not_numbers_never_agree():
    with pytest.raises(ModelsDisagreeError):
        require_agreement(np.full((1, 2), np.nan, np.float32), np.zeros((1, 2), np.float32))


def test_predicts_and_takes_the_time_of_one_image(variant):
    predict = predictor(variant.inference, 1, arena=True)
    image = np.zeros((1, 32, 32, 3), np.uint8)
    assert predict(image).shape == (1, 2)
    assert 0 < latency_ms(predict, image) < 1000


def test_refuses_what_is_no_model(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(BadInputError, match="onnxruntime refuses"):
        predictor(path, 1, arena=True)
