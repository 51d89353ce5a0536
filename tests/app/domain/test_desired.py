from hypothesis import given
from hypothesis import strategies as st

from app.domain.desired import State, etag_of, is_same, names_etag, next_poll_s

STATE = State(
    action="train",
    release_number=1,
    decision_id="d",
    point_key="p",
    budget_bytes=100,
    policy_name="default",
    policy_version=1,
    accuracy_floor=0.5,
    fallback="never",
    images_may_leave=False,
    why="because",
    next_better="",
)


@given(st.integers(1, 86_400), st.floats(0.0, 1.0, exclude_max=True))
def test_polls_are_spread_by_a_quarter_each_way(mean_s, jitter):
    found = next_poll_s(mean_s, jitter)
    assert found >= 1
    assert 0.75 * mean_s - 1 <= found <= 1.25 * mean_s + 1


def test_words_and_small_moves_of_the_budget_make_no_new_state():
    said = STATE.model_copy(update={"why": "still", "decision_id": "e", "budget_bytes": 104})
    assert is_same(STATE, said)
    assert not is_same(None, STATE)
    for change in ({"budget_bytes": 90}, {"point_key": "q"}, {"images_may_leave": True}):
        assert not is_same(STATE, STATE.model_copy(update=change))


def test_free_memory_may_breathe_as_it_likes_while_the_same_point_fits():
    free = STATE.model_copy(update={"bound_by": "available_ram"})
    assert is_same(free, free.model_copy(update={"budget_bytes": 10}))
    capped = STATE.model_copy(update={"bound_by": "operator_cap"})
    assert not is_same(capped, capped.model_copy(update={"budget_bytes": 10}))


def test_the_tag_names_box_generation_and_content():
    tags = {
        etag_of("a", 1, STATE),
        etag_of("b", 1, STATE),
        etag_of("a", 2, STATE),
        etag_of("a", 1, STATE.model_copy(update={"why": "other"})),
    }
    assert len(tags) == 4


def test_if_none_match_may_be_a_list_weak_or_a_star():
    assert names_etag('"x"', '"x"')
    assert names_etag('"y", W/"x"', '"x"')
    assert names_etag("*", '"x"')
    assert not names_etag('"y"', '"x"')
    assert not names_etag(None, '"x"')
