import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from contract.architecture import spec_hash
from models.data.pool import build_pool
from models.metrics import auc
from models.networks import build
from models.train import (
    CHECKPOINT_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    Localiser,
    LossNotFiniteError,
    OtherWeightsError,
    load_weights,
    save_weights,
    scores,
    to_network_input,
    train,
)
from tests.models.labs import POOL, PX, RECIPE, SPEC, quiet


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return build_pool(tmp_path_factory.mktemp("pool"), POOL, quiet)


@pytest.fixture(scope="module")
def trained(pool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(SPEC, pool, RECIPE, folder, quiet)


def stop_after(step):
    def report(done, _total, _text):
        if done == step:
            raise KeyboardInterrupt

    return report


def assert_same_weights(one, other):
    first, second = load_file(one / WEIGHTS_FILE), load_file(other / WEIGHTS_FILE)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_the_record_says_how_the_weights_came_about(pool, trained):
    folder, record = trained

    assert json.loads((folder / RECORD_FILE).read_text()) == record
    assert record["spec"] == spec_hash(SPEC)
    assert record["pool"] == pool.describe()
    assert record["recipe"]["steps"] == RECIPE.steps
    assert record["best_step"] in {2, 4, 6, 8}


def test_the_weights_that_are_kept_are_those_of_the_best_evaluation(pool, trained):
    folder, record = trained
    network = build(SPEC)
    load_weights(network, folder / WEIGHTS_FILE)
    images, labels, _ = pool.validation(PX)

    assert round(auc(labels, scores(network, images)), 4) == record["validation_auc"]


def test_a_finished_run_leaves_no_checkpoint(trained):
    folder, _ = trained

    assert {path.name for path in folder.iterdir()} == {WEIGHTS_FILE, RECORD_FILE}


@pytest.mark.parametrize("stopped_at", [1, 5, 8])
def test_a_stopped_run_goes_on_and_ends_the_same(pool, trained, tmp_path, stopped_at):
    folder, record = trained

    with pytest.raises(KeyboardInterrupt):
        train(SPEC, pool, RECIPE, tmp_path, stop_after(stopped_at))
    seen = []
    resumed = train(SPEC, pool, RECIPE, tmp_path, lambda done, *_: seen.append(done))

    assert seen[0] == (stopped_at - 1) // 2 * 2 + 1
    assert resumed | {"seconds": 0} == record | {"seconds": 0}
    assert_same_weights(tmp_path, folder)


def test_another_seed_gives_other_weights(pool, trained, tmp_path):
    folder, _ = trained
    train(SPEC, pool, replace(RECIPE, seed=1), tmp_path, quiet)

    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path, folder)


def test_a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_checkpoint(pool, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, pool, RECIPE, tmp_path, stop_after(5))
    before = (tmp_path / CHECKPOINT_FILE).read_bytes()
    spoilt = replace(RECIPE, localisation_weight=math.nan)

    with pytest.raises(LossNotFiniteError, match="lower the learning rate") as caught:
        train(SPEC, pool, spoilt, tmp_path, quiet)

    assert caught.value.step == 4
    assert (tmp_path / CHECKPOINT_FILE).read_bytes() == before
    assert train(SPEC, pool, RECIPE, tmp_path, quiet)["best_step"] > 0


def test_numbers_that_go_bad_never_reach_the_weights(pool, tmp_path):
    with pytest.raises(LossNotFiniteError):
        train(SPEC, pool, replace(RECIPE, learning_rate=1e30, steps=40), tmp_path, quiet)

    for stored in tmp_path.iterdir():
        for name, value in load_file(stored).items():
            if name.startswith(("module.", "stem", "head")) and "running" not in name:
                assert torch.isfinite(value).all(), name


def test_a_later_phase_begins_with_the_weights_of_the_earlier(pool, trained, tmp_path):
    folder, _ = trained
    still = replace(RECIPE, steps=1, learning_rate=0.0, evaluate_every=1)

    train(SPEC, pool, still, tmp_path, quiet, folder / WEIGHTS_FILE)

    before, after = load_file(folder / WEIGHTS_FILE), load_file(tmp_path / WEIGHTS_FILE)
    trained_names = [name for name in before if "running" not in name]
    assert all(torch.equal(before[name], after[name]) for name in trained_names)


def test_weights_of_another_network_are_refused(tmp_path):
    other = build(SPEC.model_copy(update={"middle_depth": 2}))
    save_weights(other, tmp_path / WEIGHTS_FILE)

    with pytest.raises(OtherWeightsError, match="does not belong to this network"):
        load_weights(build(SPEC), tmp_path / WEIGHTS_FILE)


def test_the_localiser_adds_nothing_to_the_network():
    torch.manual_seed(0)
    network = build(SPEC)
    names = list(network.state_dict())
    images = torch.rand(2, 3, PX, PX) * 2 - 1
    network.eval()
    before = network(images)

    where = Localiser(network)

    assert list(network.state_dict()) == names
    assert torch.equal(network(images), before)
    assert {name for name, _ in where.named_parameters()} == {"score.weight", "score.bias"}


def test_the_localiser_wants_a_forward_pass_first():
    with pytest.raises(RuntimeError, match="has not run"):
        Localiser(build(SPEC)).loss(torch.zeros(1, 16, 16, dtype=torch.bool))


def test_the_localiser_is_pleased_by_scores_where_the_defect_is():
    network = build(SPEC).eval()
    where = Localiser(network)
    network(torch.rand(1, 3, PX, PX))
    torch.nn.init.zeros_(where.score.weight)
    torch.nn.init.constant_(where.score.bias, 9.0)

    everywhere = torch.ones(1, 16, 16, dtype=torch.bool)

    assert where.loss(everywhere) < 0.01 < where.loss(~everywhere)


def test_tiles_become_numbers_from_minus_one_to_one():
    tiles = np.zeros((1, 4, 4, 3), np.uint8)
    tiles[0, 1, 2] = (255, 0, 51)

    scaled = to_network_input(tiles)

    assert scaled.shape == (1, 3, 4, 4)
    assert scaled[0, :, 1, 2].tolist() == pytest.approx([1.0, -1.0, -0.6])
