"""The rules that hold for every value of every message, tried on every recorded payload."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contract.base import Count, Label, Labels, Message, Name, OperatorInput, Sha256, Text, Utc
from tests.contract.payloads import (
    MESSAGES,
    OPERATOR_INPUT,
    changed,
    objects,
    parse,
    places,
    recorded,
)

CHECKED = {name: kind for name, kind in (MESSAGES | OPERATOR_INPUT).items() if name != "problem"}
"""A problem is the server's words about what a caller sent: it may quote anything."""
BAD_TEXTS = ["\x00", "a\nb", "a\x1b[31m", "\x7f", "\x9f"]


def refuses(name, payload):
    with pytest.raises(ValidationError):
        parse(name, payload)


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_no_number_may_be_nan_or_infinite(name, bad):
    payload = recorded(name)
    for _, place in places({name: CHECKED[name]}, float):
        refuses(name, changed(payload, place, bad))


@pytest.mark.parametrize("name", MESSAGES | OPERATOR_INPUT)
@pytest.mark.parametrize("bad", [2**63, -(2**63) - 1, 10**400], ids=["2^63", "-2^63-1", "10^400"])
def test_no_integer_may_be_larger_than_a_database_stores(name, bad):
    payload = recorded(name)
    for _, place in places({name: None}, int):
        refuses(name, changed(payload, place, bad))


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_no_text_may_carry_control_characters(name, bad):
    payload = recorded(name)
    for _, place in places({name: CHECKED[name]}, str):
        refuses(name, changed(payload, place, bad))


@pytest.mark.parametrize("name", CHECKED)
def test_no_text_may_carry_a_lone_surrogate(name):
    payload = recorded(name)
    for _, place in places({name: CHECKED[name]}, str):
        refuses(name, changed(payload, place, "a\ud800"))
        with pytest.raises(ValidationError):
            CHECKED[name].model_validate(changed(payload, place, "a\udfff"))


@pytest.mark.parametrize("name", CHECKED)
def test_no_text_may_be_endless(name):
    payload = recorded(name)
    for _, place in places({name: CHECKED[name]}, str):
        refuses(name, changed(payload, place, "a" * 3000))


@pytest.mark.parametrize("bad", ["2026-03-04T09:30:12", "2026-03-04", "now", ""])
def test_no_moment_may_be_without_its_zone(bad):
    moments = [(n, p) for n, p in places(CHECKED, str) if p[-1] in {"sent_at", "decided_at"}]
    assert len(moments) > 1
    for name, place in moments:
        refuses(name, changed(recorded(name), place, bad))


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_ignores_fields_that_it_does_not_know(name):
    payload = recorded(name)
    known = parse(name, payload)
    for place, value in objects(payload):
        if not _is_free_table(place):
            longer = changed(payload, place, value | {"of_a_later_version": {"x": [1]}})
            assert parse(name, longer) == known, place


@pytest.mark.parametrize("name", OPERATOR_INPUT)
def test_operator_input_refuses_fields_that_it_does_not_know(name):
    refuses(name, recorded(name) | {"acuracy_floor": 0.9})


@pytest.mark.parametrize("kind", [Message, OperatorInput])
def test_a_value_cannot_be_changed_once_made(kind):
    class Box(kind):
        serial: Label

    with pytest.raises(ValidationError, match="frozen"):
        Box(serial="a").serial = "b"


def _is_free_table(place):
    """Say whether the object holds the sender's own keys: labels, versions, counts."""
    tables = {
        *("labels", "versions", "lineage", "counts", "fields", "terms", "probabilities"),
        *("cloud_reasons", "class_counts", "findings"),
    }
    return bool(place) and place[-1] in tables


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-04T09:30:12+02:00", datetime(2026, 3, 4, 7, 30, 12, tzinfo=UTC)),
        ("2026-03-04T09:30:12Z", datetime(2026, 3, 4, 9, 30, 12, tzinfo=UTC)),
    ],
)
def test_moments_are_kept_in_utc(text, utc):
    moment = TypeAdapter(Utc).validate_python(text)

    assert moment == utc
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_a_moment_that_utc_cannot_hold_is_refused_and_not_a_crash(text):
    with pytest.raises(ValidationError, match="outside the years"):
        TypeAdapter(Utc).validate_python(text)


@pytest.mark.parametrize("bad", ["", "A", "-a", "a b", "a/b", "a" * 81, "a\n", "..", "ä"])
def test_a_name_is_lower_case_short_and_safe_in_a_path(bad):
    adapter = TypeAdapter(Name)
    if bad == "a\n":
        assert adapter.validate_python(bad) == "a"
    else:
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)


@pytest.mark.parametrize("bad", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"])
def test_a_digest_is_64_hex_digits(bad):
    with pytest.raises(ValidationError):
        TypeAdapter(Sha256).validate_python(bad)


@pytest.mark.parametrize("bad", [-1, 2**53 + 1, 1.0, "1", True, None])
def test_a_count_is_an_integer_that_every_json_reader_holds(bad):
    with pytest.raises(ValidationError):
        TypeAdapter(Count).validate_python(bad)


@given(st.text(max_size=50))
def test_a_text_is_kept_as_it_came_or_refused(text):
    printable = not any(ord(c) < 32 or 127 <= ord(c) <= 159 for c in text)
    try:
        assert TypeAdapter(Text).validate_python(text) == text
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == printable


def test_labels_are_few_and_printable_on_both_sides():
    adapter = TypeAdapter(Labels)
    for bad in ({"a": "\x00"}, {"\x00": "a"}, {"": "a"}, {f"k{i}": "v" for i in range(33)}):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)
