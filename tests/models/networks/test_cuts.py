"""A cut parts a network's tensors into those that train and those that stay."""

import pytest
import torch

from models.networks import (
    NETWORKS,
    UnknownCutError,
    blocks_from,
    build,
    frozen_names,
    network_spec,
    parameter_count,
    trainable_names,
)

BLOCKS = ("stem", "entry1", "exit", "tail", "head")


@pytest.fixture(scope="module")
def small():
    return build(network_spec("rx-xs-064"))


def test_a_cut_takes_its_block_and_all_after_it():
    assert blocks_from(BLOCKS, "exit") == ("exit", "tail", "head")
    assert blocks_from(BLOCKS, "stem") == BLOCKS
    assert blocks_from(BLOCKS, "head") == ("head",)


def test_an_unknown_cut_names_the_ones_there_are(small):
    with pytest.raises(UnknownCutError, match="choose one of: stem, entry1") as raised:
        trainable_names(small, "entry9")

    assert raised.value.cut == "entry9"
    assert raised.value.blocks == small.blocks


def test_a_cut_at_the_head_trains_the_linear_layer_only(small):
    assert trainable_names(small, "head") == ("head.linear.weight", "head.linear.bias")


def test_a_cut_at_the_stem_freezes_statistics_only(small):
    frozen = frozen_names(small, "stem")

    assert frozen
    assert all(name.endswith(("running_mean", "running_var")) for name in frozen)


def test_statistics_of_trainable_blocks_stay_frozen(small):
    assert "tail.sep1.bn.running_mean" in frozen_names(small, "tail")
    assert "tail.sep1.bn.weight" in trainable_names(small, "tail")


@pytest.mark.parametrize("name", NETWORKS)
def test_trainable_and_frozen_part_the_state_at_every_cut(name):
    with torch.device("meta"):
        network = build(network_spec(name))
    state = {key for key in network.state_dict() if not key.endswith("num_batches_tracked")}

    for cut in network.blocks:
        trainable, frozen = trainable_names(network, cut), frozen_names(network, cut)
        assert len(trainable) + len(frozen) == len(state)
        assert set(trainable) | set(frozen) == state
        assert {key.partition(".")[0] for key in trainable} == set(blocks_from(network.blocks, cut))


def test_a_later_cut_never_trains_more(small):
    trained = [len(trainable_names(small, cut)) for cut in small.blocks]

    assert trained == sorted(trained, reverse=True)
    assert len(set(trained)) == len(trained)


def test_counting_includes_statistics_but_no_batch_counters():
    assert parameter_count(torch.nn.BatchNorm2d(8)) == 32
    assert parameter_count(torch.nn.Linear(3, 2)) == 8
