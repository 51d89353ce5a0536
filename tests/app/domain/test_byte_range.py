import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.byte_range import requested_range
from app.errors import RangeNotSatisfiableError

ETAG = '"abc"'


def asked(header, if_range=None, length=10):
    found = requested_range(header, if_range, etag=ETAG, length_bytes=length)
    return None if found is None else (found.start, found.stop)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        (None, None),
    ],
)
def test_one_range_is_understood_and_others_mean_the_whole_file(header, wanted):
    assert asked(header) == wanted


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_outside_the_file_is_refused(header):
    with pytest.raises(RangeNotSatisfiableError):
        asked(header)


def test_if_range_with_another_tag_means_the_whole_file():
    assert asked("bytes=1-2", if_range=ETAG) == (1, 3)
    assert asked("bytes=1-2", if_range='"old"') is None


@given(st.text(max_size=40), st.integers(0, 100))
def test_no_header_does_worse_than_a_refusal(header, length):
    try:
        found = asked("bytes=" + header, length=length)
    except RangeNotSatisfiableError:
        return
    assert found is None or 0 <= found[0] < found[1] <= length
