import json
import os

import pytest

from models.finetune.fingerprint import fingerprint
from models.finetune.job import load_job


@pytest.fixture
def named(job, tmp_path):
    def name(images=(), **changes):
        path = tmp_path / "job.json"
        path.write_text(json.dumps(job("head", **changes)))
        return fingerprint(load_job(path), images)

    return name


def test_the_same_job_has_the_same_name(named):
    assert named() == named()


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"micro_batch": 4}, {"epochs": 9}, {"job_id": "k"}, {"max_steps": 2}]
)
def test_whatever_the_result_depends_on_changes_the_name(named, change):
    assert named() != named(**change)


def test_where_results_go_and_how_much_memory_there_is_does_not(named, tmp_path):
    assert named() == named(output_dir=str(tmp_path / "elsewhere"), ram_cap_bytes=2**40)


def test_artifacts_count_by_content(named, variant, tmp_path):
    copy = tmp_path / "copy"
    copy.write_bytes(variant.weights.read_bytes())
    assert named(weights_path=str(copy)) == named()
    copy.write_bytes(copy.read_bytes() + b"x")
    assert named(weights_path=str(copy)) != named()


def test_another_or_a_newer_image_changes_the_name(named, tmp_path):
    image = tmp_path / "a.png"
    image.write_bytes(b"x")
    first = named([image])
    assert first != named()
    os.utime(image, (1, 1))
    assert named([image]) != first
