"""Small reads that never raise."""

from device_agent.machine.sysfs import clean, facts, listed, numbers, read


def test_what_is_not_there_is_empty(tmp_path):
    assert read(tmp_path / "no") == ""
    assert read(tmp_path) == ""
    assert listed(tmp_path / "no") == []
    assert facts(tmp_path / "no") == {}
    assert numbers(tmp_path / "no") == {}


def test_lines_of_both_kinds_are_read_and_others_left_out(tmp_path):
    (tmp_path / "uevent").write_text("DRIVER=i915\nnonsense\nPCI_ID=8086:46D1\n")
    (tmp_path / "properties").write_text("simd_count 44\nname raven\nlong line here\nneg -1\n")

    assert facts(tmp_path / "uevent") == {"DRIVER": "i915", "PCI_ID": "8086:46D1"}
    assert numbers(tmp_path / "properties") == {"simd_count": 44}


def test_a_name_is_printable_short_and_never_empty():
    assert clean("a\0b\n") == "ab"
    assert clean(" \0 ") == "unknown"
    assert len(clean("x" * 500)) == 120


def test_a_file_without_end_is_read_in_part(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 200_000)

    assert len(read(tmp_path / "big")) == 65_536
