"""Sizes as people write them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("256MB", 256_000_000),
        ("4GB", 4_000_000_000),
        ("1.5 gib", 1_610_612_736),
        ("512MiB", 536_870_912),
        ("700", 700),
        (" 8kb ", 8000),
    ],
)
def test_reads_decimal_and_binary_sizes(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "MB", "-1MB", "1e9", "4 XB", "0MB", "99999TB", "1,5GB", "٣MB"]
)
def test_says_how_to_write_a_size(text):
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@given(st.text(max_size=20))
def test_no_text_crashes_it(text):
    with contextlib.suppress(ValueError):
        assert parse_size(text) >= 1


def test_formats_for_people():
    assert format_size(176_000_000) == "176.0 MB"
    assert format_size(12) == "12 B"
    assert format_size(None) == "unknown"
