"""The rules are held against torch in float64, where no ReLU tips over by rounding."""

import pytest

from models.graphs import ExportDisagreesError, rules_check
from models.graphs.convolution import backward as convolution_backward
from models.graphs.rules import BACKWARD
from models.graphs.rules_check import check_rules
from models.graphs.steps import Conv, GlobalPool
from models.networks import UnknownCutError
from tests.models.graphs.families import SPECS, network_of


@pytest.mark.parametrize("family", SPECS)
def test_every_family_agrees_with_torch_in_float64(family):
    network = network_of(family)

    assert check_rules(network, "stem") < 1e-7


def test_a_rule_that_is_wrong_by_a_hundred_thousandth_is_refused(monkeypatch):
    right = BACKWARD[GlobalPool]

    def slightly_wrong(emission, step, dy):
        graph = emission.graph
        right(emission, step, graph.node("Mul", dy, graph.scalar(1.00001)))

    monkeypatch.setitem(BACKWARD, GlobalPool, slightly_wrong)

    with pytest.raises(ExportDisagreesError, match="differs from torch") as raised:
        check_rules(network_of("reduced xception"), "stem")

    assert raised.value.difference == pytest.approx(1e-5, rel=0.9)


def test_a_gradient_that_one_layer_loses_is_refused(monkeypatch):
    def forgets_groups(emission, step, dy):
        convolution_backward(emission, step, dy if step.groups == 1 else half(emission, dy))

    def half(emission, dy):
        return emission.graph.node("Mul", dy, emission.graph.scalar(0.5))

    monkeypatch.setitem(BACKWARD, Conv, forgets_groups)

    with pytest.raises(ExportDisagreesError):
        check_rules(network_of("reduced xception"), "exit")


def test_a_large_network_is_drawn_for_small_pictures_with_the_same_weights(monkeypatch):
    monkeypatch.setattr(rules_check, "SMALL_PX", 32)
    network = network_of("reduced xception")

    assert check_rules(network, "head") < 1e-7
    assert network.spec.input_px == 40


def test_a_cut_that_the_network_lacks_is_named():
    with pytest.raises(UnknownCutError, match="nowhere"):
        check_rules(network_of("reduced xception"), "nowhere")
