"""A folder of images that cannot be used silences nothing but the training."""

import pytest

from device_agent.errors import DataUnusableError
from tests.device_agent.conftest import make_profile


@pytest.fixture
def without_images(settings, tmp_path):
    """Return what makes an agent's folder of images one that is not there."""
    bad = settings.model_copy(update={"data": tmp_path / "nowhere"})

    def spoil(agent):
        object.__setattr__(agent.box, "settings", bad)
        return agent

    return spoil


def no_images():
    return make_profile(n_ok=0, n_defect=0)


def test_a_box_whose_images_cannot_be_used_enrols_and_says_so(open_box, fleet, without_images):
    agent = without_images(open_box(profile=no_images))

    with pytest.raises(DataUnusableError, match="no folder"):
        agent.run_once()

    assert fleet.registered == 1
    events = [r.body for r in fleet.received if r.body.kind == "event"]
    assert {e.name for e in events} == {"data_unusable"}
    assert "no folder" in events[0].fields["text"]


def test_unusable_images_are_code_3_even_where_the_server_offers_nothing(
    open_box, fleet, without_images
):
    fleet.points = []

    with pytest.raises(DataUnusableError, match="no folder"):
        without_images(open_box(profile=no_images)).run_once()


def test_a_box_whose_images_went_away_still_obeys(open_box, fleet, without_images):
    fleet.images_may_leave = True
    open_box().run_once()
    fleet.images_may_leave, fleet.generation = False, 5
    agent = without_images(open_box(profile=no_images))

    for _ in range(3):
        agent.cycle()

    assert agent.state.desired.images_may_leave is False
    assert agent.box.shelf.active() is not None
    assert sum(r.body.kind == "event" for r in fleet.received) == 1
