"""The table of states: what may follow what, and what is kept on disk."""

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.disk.paths import StatePaths
from device_agent.errors import StateError
from device_agent.loop.state import (
    SETTLED,
    TABLE,
    WORKING,
    BoxState,
    Identity,
    IllegalTransitionError,
    StateStore,
    advance,
    assignment_of,
)

EVENTS = sorted({event for row in TABLE.values() for event in row})


def test_the_happy_path_leads_from_new_to_active():
    state = BoxState()
    events = ("registered", "profiled", "told_train", "fetched", "verified", "trained")
    for event in (*events, "evaluated"):
        state = advance(state, event)

    assert advance(state, "activated").step == "active"


@pytest.mark.parametrize("step", WORKING)
def test_every_step_of_work_can_be_rejected_and_superseded(step):
    state = BoxState(step=step)

    assert advance(state, "rejected").step == "rejected"
    assert advance(state, "told_train").step == "assigned"
    assert advance(state, "told_cloud").step == "cloud"


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_no_order_of_events_activates_what_was_not_evaluated(events):
    state = BoxState()
    seen = [state.step]
    for event in events:
        try:
            state = advance(state, event)
        except IllegalTransitionError:
            continue
        seen.append(state.step)
        if event == "activated":
            assert seen[-2] == "evaluated"
        if event in {"fetched", "verified", "trained", "evaluated"}:
            assert WORKING.index(state.step) == WORKING.index(seen[-2]) + 1


@pytest.mark.parametrize("step", [step for step in TABLE if step not in {"new", "enrolled"}])
def test_a_box_can_be_rolled_back_from_wherever_it_listens_and_told_anew(step):
    state = advance(BoxState(step=step), "rolled_back")

    assert state.step == "rolled_back"
    assert advance(state, "told_train").step == "assigned"
    assert advance(state, "kept_active").step == "active"


def test_files_that_the_disk_damaged_are_fetched_again():
    assert advance(BoxState(step="fetched"), "found_damaged").step == "assigned"


def test_a_state_file_of_an_older_agent_still_loads(tmp_path):
    old = {"schema_version": 1, "step": "fetched", "task_id": "t", "starts": 2, "attempts": 1}
    (tmp_path / "state.json").write_text(json.dumps(old))

    state = StateStore(StatePaths(tmp_path)).load()

    assert (state.step, state.starts, state.rollback) == ("fetched", 2, None)
    assert advance(state, "verified").step == "verified"


def test_settled_and_working_states_never_overlap():
    assert not set(SETTLED) & set(WORKING)
    assert set(TABLE) == {"new", "enrolled", "profiled", "rejected", *SETTLED, *WORKING}


def test_an_assignment_that_is_not_there_is_named():
    with pytest.raises(StateError, match="holds no assignment"):
        assignment_of(BoxState(step="assigned"))


def test_what_was_saved_is_loaded(tmp_path):
    store = StateStore(StatePaths(tmp_path))
    state = BoxState(step="rejected", task_id="t", starts=3, floor_bytes=5)

    store.save(state)

    assert store.load() == state


def test_the_identity_can_be_read_by_its_owner_alone(tmp_path):
    store = StateStore(StatePaths(tmp_path))
    store.save_identity(Identity(device_id="box-1", token="t", server="http://s"))  # noqa: S106

    assert stat.S_IMODE((tmp_path / "identity.json").stat().st_mode) == 0o600
    assert store.identity().device_id == "box-1"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"step": "flying"}', b"\xff\x00"])
def test_a_corrupt_state_is_an_error_with_a_way_out(tmp_path, content):
    (tmp_path / "state.json").write_bytes(content)

    with pytest.raises(StateError, match="move it away and start the agent again"):
        StateStore(StatePaths(tmp_path)).load()
