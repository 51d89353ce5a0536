"""What light, camera and mask may do to a training tile."""

import numpy as np
import pytest
import torch

from models.light import relight

LIGHTS = ("near", "wide")


def tiles(n=64, px=24):
    values = np.random.default_rng(0).uniform(-1, 1, (n, 3, px, px)).astype(np.float32)
    return torch.from_numpy(values).contiguous(memory_format=torch.channels_last)


def changed(light, seed=0):
    return relight(tiles(), light, np.random.default_rng(seed))


@pytest.mark.parametrize("light", LIGHTS)
def test_pictures_stay_in_range_shape_and_layout(light):
    found = changed(light)

    assert found.shape == (64, 3, 24, 24)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert float(found.min()) >= -1.0
    assert float(found.max()) <= 1.0


@pytest.mark.parametrize("light", LIGHTS)
def test_the_same_seed_gives_the_same_light_and_another_seed_another(light):
    assert torch.equal(changed(light), changed(light))
    assert not torch.equal(changed(light), changed(light, seed=1))


def test_wide_light_goes_further_than_near():
    def brightness(light):
        return changed(light).mean(dim=(1, 2, 3))

    assert float(brightness("wide").std()) > 2 * float(brightness("near").std())


def test_wide_light_softens_some_pictures_and_leaves_others_sharp():
    def detail(pictures):
        return (pictures[..., 1:] - pictures[..., :-1]).std(dim=(1, 2, 3)) / pictures.std(
            dim=(1, 2, 3)
        )

    kept = (detail(changed("wide")) / detail(tiles())).numpy()

    assert (kept < 0.8).sum() > 5
    assert (kept > 0.95).sum() > 5


def test_wide_light_gives_some_masks_another_colour():
    red = torch.full((400, 3, 4, 4), -1.0)
    red[:, 0] = 0.2

    found = relight(red, "wide", np.random.default_rng(0)).mean(dim=(2, 3))
    strongest = found.argmax(dim=1).numpy()

    assert 0.6 < (strongest == 0).mean() < 0.95
    assert {0, 1, 2} == set(strongest.tolist())
