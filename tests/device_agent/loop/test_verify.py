"""Between fetching and training: every file is read again, and the network is tried."""

import pytest

from device_agent.loop.steps import MOST_ATTEMPTS
from tests.device_agent.fleet import FILES, artifact


def damage_after_fetching(agent, times=99):
    """Flip a bit of the weights on the disk whenever they have been fetched, ``times`` times."""
    path = agent.box.cache.path(artifact("weights"))
    left = [times]

    def mark(name):
        if name == "saved fetched" and left[0]:
            left[0] -= 1
            data = path.read_bytes()
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:])

    object.__setattr__(agent.box.world, "mark", mark)


def test_a_file_that_the_disk_damaged_is_fetched_again_before_training(open_box, fleet):
    agent = open_box()
    damage_after_fetching(agent, times=1)

    assert agent.run_once() == "active"

    weights = f"/v1/artifacts/{artifact('weights').sha256}"
    assert [path for _, path in fleet.requests].count(weights) == 2
    assert agent.box.cache.path(artifact("weights")).read_bytes() == FILES["weights"]


def test_a_disk_that_keeps_nothing_ends_the_task_untrained(open_box, fleet, settings):
    agent = open_box()
    damage_after_fetching(agent)

    assert agent.run_once() == "idle"

    assert fleet.outcomes()[0].status == "refused"
    assert "this disk does not keep" in fleet.outcomes()[0].reason
    assert not list(settings.state.rglob("started"))


def test_a_network_that_does_not_run_here_is_never_trained(open_box, fleet, settings):
    tried = []

    def try_model(path, manifest):
        tried.append((path.name, manifest.input_px))
        return "it crashed the runtime"

    agent = open_box(try_model=try_model)

    assert agent.run_once() == "idle"

    assert tried == [(artifact("inference").sha256, 32)] * MOST_ATTEMPTS
    assert "it crashed the runtime" in fleet.outcomes()[0].reason
    assert not list(settings.state.rglob("JOB.json")), "no trainer was started"


def test_a_trial_that_fails_once_is_no_verdict(open_box):
    answers = ["the box was crowded", None, None]
    agent = open_box(try_model=lambda *_: answers.pop(0))

    assert agent.run_once() == "active"


@pytest.mark.parametrize("kind", ["weights", "inference", "train_graph"])
def test_a_state_that_says_fetched_is_not_believed(open_box, fleet, kind):
    """An older agent, or one that was killed, may have left a file behind that is gone since."""
    agent = open_box()

    def mark(name):
        if name == "saved fetched":
            raise KeyboardInterrupt

    object.__setattr__(agent.box.world, "mark", mark)
    with pytest.raises(KeyboardInterrupt):
        agent.run_once()
    agent.box.cache.path(artifact(kind)).unlink()

    assert open_box().run_once() == "active"
    assert fleet.outcomes()[-1].status == "activated"
