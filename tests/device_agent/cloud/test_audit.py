"""The audit sample: its share, its quota, and that a bad disk costs no prediction."""

import json
import os
import stat
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.inference import Prediction
from device_agent.cloud.audit import Audit, count_samples, suffix_of
from tests.device_agent.conftest import image_bytes
from tests.device_agent.fleet import cloud_prediction

ANSWER = Prediction.model_validate(cloud_prediction())


class Ticks:
    """A clock that goes on by a second at every look."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 6, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.moment += timedelta(seconds=1)
        return self.moment


def audit(folder: Path, quota_bytes: int = 10**6, **more: int) -> Audit:
    return Audit(folder, quota_bytes, Ticks(), Random(1), **more)  # noqa: S311 - a sample


def held_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_sample_is_the_image_as_it_came_and_what_was_said_of_it(tmp_path):
    assert audit(tmp_path / "audit").sample(image_bytes(), ANSWER, 1.0)

    names = sorted(p.name for p in (tmp_path / "audit").iterdir() if p.name != ".lock")
    facts, image = ((tmp_path / "audit" / name) for name in names)
    assert image.read_bytes() == image_bytes()
    assert image.suffix == ".png"
    said = json.loads(facts.read_bytes())
    assert (said["label"], said["probabilities"]) == ("ok", {"ok": 0.9, "defect": 0.1})
    assert said["time"].startswith("2026-06-01T00:00:")
    assert count_samples(tmp_path / "audit") == {
        "samples": 1,
        "bytes": held_bytes(tmp_path / "audit"),
    }


def test_samples_are_for_the_boxs_own_user(tmp_path):
    audit(tmp_path / "audit").sample(image_bytes(), ANSWER, 1.0)

    for path in (tmp_path / "audit", *(tmp_path / "audit").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_so_many_are_kept_as_the_policy_says(tmp_path):
    sampler = audit(tmp_path / "audit", quota_bytes=1)
    kept = Counter(sampler._chance.random() < 0.02 for _ in range(20_000))  # noqa: SLF001 - its luck

    assert 300 < kept[True] < 500
    assert not sampler.sample(b"", ANSWER, 0.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=12), st.integers(500, 6000))
def test_the_folder_never_holds_more_than_its_quota(tmp_path_factory, sizes, quota_bytes):
    folder = tmp_path_factory.mktemp("audit")
    sampler = audit(folder, quota_bytes)
    for size in sizes:
        sampler.sample(os.urandom(size), ANSWER, 1.0)
        assert held_bytes(folder) <= quota_bytes


def test_the_oldest_go_first(tmp_path):
    sampler = audit(tmp_path / "audit", quota_bytes=4000)
    for letter in "abcdef":
        sampler.sample(letter.encode() * 1000, ANSWER, 1.0)

    kept = "".join(p.read_text()[0] for p in sorted((tmp_path / "audit").glob("*.img")))
    assert kept == "def"
    assert count_samples(tmp_path / "audit")["samples"] == 3


def test_an_image_larger_than_the_quota_pushes_nothing_out(tmp_path):
    sampler = audit(tmp_path / "audit", quota_bytes=2000)
    assert sampler.sample(b"small", ANSWER, 1.0)

    assert not sampler.sample(b"x" * 3000, ANSWER, 1.0)
    assert count_samples(tmp_path / "audit")["samples"] == 1


def test_a_nearly_full_disk_keeps_its_last_room(tmp_path):
    assert not audit(tmp_path / "audit", spare_bytes=2**62).sample(image_bytes(), ANSWER, 1.0)
    assert count_samples(tmp_path / "audit")["samples"] == 0


def test_a_folder_that_cannot_be_made_costs_no_prediction(tmp_path):
    (tmp_path / "file").write_text("")

    assert not audit(tmp_path / "file" / "audit").sample(image_bytes(), ANSWER, 1.0)


def test_a_write_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "audit"
    real = os.fdopen

    def full(descriptor: int, _: str):
        os.close(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    assert not audit(folder).sample(image_bytes(), ANSWER, 1.0)
    monkeypatch.setattr(os, "fdopen", real)

    assert [p.name for p in folder.iterdir()] == [".lock"]


def test_an_absent_folder_holds_no_samples(tmp_path):
    assert count_samples(tmp_path / "audit") == {"samples": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("start", "suffix"), [(b"\xff\xd8\xff\xe0", ".jpg"), (b"BM", ".bmp"), (b"II*", ".img")]
)
def test_a_sample_can_be_opened_by_its_name(start, suffix):
    assert suffix_of(start + b"rest") == suffix
