"""A folder of images that cannot be used silences nothing but the training."""

import pytest

from device_agent.disk.paths import StatePaths
from device_agent.errors import DataUnusableError
from device_agent.quality.look_child import LookFailedError, look_in_child
from tests.device_agent.conftest import fine_images, image_bytes, make_profile
from tests.device_agent.fleet import point


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


class Look:
    """Answers as told, and counts how often it was asked."""

    def __init__(self, answer=None):
        self.answer = answer or fine_images()
        self.requests = []

    def __call__(self, request, cap_bytes, stopped):
        self.requests.append((request, cap_bytes))
        assert not stopped()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def quality_reports(fleet):
    return [r.body for r in fleet.received if r.body.kind == "data_quality"]


def test_the_images_are_looked_at_once_and_reported_once(open_box, fleet):
    look = Look()
    assert open_box(look_at_data=look).run_once() == "active"
    fleet.points = [point("xcep-other")]
    fleet.generation = 9
    open_box("better", look_at_data=look).run_once()

    assert len(look.requests) == 1
    assert [body.class_counts for body in quality_reports(fleet)] == [{"ok": 5, "defect": 5}]
    request, cap_bytes = look.requests[0]
    assert request.model.is_file()
    assert cap_bytes == 176_000_000


def test_new_images_are_looked_at_again(open_box, fleet, data):
    look = Look()
    open_box(look_at_data=look).run_once()
    (data / "ok" / "new.png").write_bytes(image_bytes(99))
    fleet.points = [point("xcep-other")]
    open_box("better", look_at_data=look).run_once()

    assert len(look.requests) == 2
    assert len(quality_reports(fleet)) == 2


def test_too_few_images_are_refused_with_what_is_missing(open_box, fleet):
    refusal = "Add 2 images to defect: 1 of 3 usable (to train at all)"
    look = Look(fine_images(trainable=False, refusal=refusal))

    with pytest.raises(DataUnusableError, match="Add 2 images to defect"):
        open_box("crash", look_at_data=look).run_once()

    assert len(quality_reports(fleet)) == 1
    assert open_box(look_at_data=Look()).box.shelf.active() is None


def test_a_look_that_fails_is_told_of_and_training_goes_on(open_box, fleet):
    look = Look(LookFailedError("the decoder crashed"))

    assert open_box(look_at_data=look).run_once() == "active"

    events = [r.body for r in fleet.received if r.body.kind == "event"]
    assert [e.name for e in events] == ["data_check_failed"]
    assert quality_reports(fleet) == []


def test_a_damaged_memory_of_the_last_look_only_costs_another_look(open_box, fleet, settings):
    look = Look()
    open_box(look_at_data=look).run_once()
    StatePaths(settings.state).quality.write_text("{")
    fleet.points = [point("xcep-other")]

    open_box("better", look_at_data=look).run_once()

    assert len(look.requests) == 2
    assert len({r.key for r in fleet.received if r.body.kind == "data_quality"}) == 1


def test_the_real_child_refuses_a_folder_of_copies(open_box, fleet, data):
    for number in range(5):
        (data / "ok" / f"{number}.png").write_bytes(image_bytes(30))

    with pytest.raises(DataUnusableError, match="Add 2 images to ok: 1 of 3 usable"):
        open_box("crash", look_at_data=look_in_child).run_once()

    (body,) = quality_reports(fleet)
    assert body.findings == {"duplicate": 4}
    assert not body.enough


def test_the_real_child_lets_a_few_good_images_pass(open_box, fleet):
    assert open_box(look_at_data=look_in_child).run_once() == "active"

    (body,) = quality_reports(fleet)
    assert "Add 45 images to ok" in body.advice
