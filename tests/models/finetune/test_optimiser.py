import numpy as np
import pytest
import torch

from models.finetune.optimiser import OPTIMISERS, Adam, Sgd


def _torch_optimiser(name, parameter, rate):
    if name == "sgd":
        return torch.optim.SGD([parameter], lr=rate, momentum=0.9)
    return torch.optim.Adam([parameter], lr=rate)


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
@pytest.mark.parametrize("size", [1, 7, 70_001])
def test_walks_as_torch_does(name, size):
    rng = np.random.default_rng(size)
    ours = rng.standard_normal(size).astype(np.float32)
    theirs = torch.nn.Parameter(torch.from_numpy(ours.copy()))
    optimiser = OPTIMISERS[name](size)
    reference = _torch_optimiser(name, theirs, 0.01)
    for step in range(12):
        gradient = (rng.standard_normal(size) * 10.0 ** (step % 3 - 1)).astype(np.float32)
        theirs.grad = torch.from_numpy(gradient.copy())
        reference.step()
        optimiser.step(ours, gradient, 0.01)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=2e-6, atol=2e-6)
    assert optimiser.steps == 12


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_takes_the_rate_of_each_step(name):
    moved = np.zeros(3, np.float32)
    optimiser = OPTIMISERS[name](3)
    optimiser.step(moved, np.ones(3, np.float32), 0.0)
    assert (moved == 0).all()
    optimiser.step(moved, np.ones(3, np.float32), 0.1)
    assert (moved < 0).all()


def test_updates_in_place_and_keeps_one_vector_for_sgd_and_two_for_adam():
    assert set(Sgd(4).state) == {"velocity"}
    assert set(Adam(4).state) == {"mean", "square"}
    parameters = np.zeros(4, np.float32)
    window = parameters[1:3]
    Adam(4).step(parameters, np.ones(4, np.float32), 0.1)
    assert (window != 0).all()


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_goes_on_from_stored_state_as_if_never_stopped(name):
    rng = np.random.default_rng(3)
    gradients = rng.standard_normal((6, 50)).astype(np.float32)
    whole, halves = np.zeros((2, 50), np.float32)
    first = OPTIMISERS[name](50)
    for gradient in gradients:
        first.step(whole, gradient, 0.05)
    before = OPTIMISERS[name](50)
    for gradient in gradients[:3]:
        before.step(halves, gradient, 0.05)
    after = OPTIMISERS[name](50)
    after.steps = before.steps
    for key, vector in before.state.items():
        after.state[key][...] = vector
    for gradient in gradients[3:]:
        after.step(halves, gradient, 0.05)
    assert np.array_equal(whole, halves)
