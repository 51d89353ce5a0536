import json
import math

import pytest

from models.finetune.errors import BadJobError
from models.finetune.job import load_job


@pytest.fixture
def job_file(tmp_path):
    for name in ("w", "i", "t"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "data").mkdir()
    fields = {
        "job_id": "j",
        "variant": "v",
        "weights_path": str(tmp_path / "w"),
        "inference_path": str(tmp_path / "i"),
        "train_graph_path": str(tmp_path / "t"),
        "output_dir": str(tmp_path / "out"),
        "data_dir": str(tmp_path / "data"),
        "classes": ["ok", "defect"],
        "trainable": ["head.weight"],
        "frozen": ["stem.weight"],
        "input_px": 64,
        "in_channels": 3,
        "batch": 8,
        "micro_batch": 4,
        "epochs": 3,
        "optimiser": "sgd",
        "learning_rate": 0.01,
    }

    def write(**changes):
        path = tmp_path / "job.json"
        path.write_text(json.dumps(fields | changes))
        return path

    return write


def test_reads_a_job_with_its_defaults(job_file):
    job = load_job(job_file(train_limit=None))
    assert (job.batch, job.seed, job.threads, job.dropout) == (8, 0, 1, 0.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch", 0),
        ("batch", 8.5),
        ("batch", True),
        ("batch", "8"),
        ("batch", None),
        ("micro_batch", 9),
        ("epochs", 10**30),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", -1),
        ("dropout", 1.0),
        ("in_channels", 2),
        ("input_px", 4),
        ("seed", -1),
        ("threads", 0),
        ("max_steps", 0),
        ("train_limit", 1),
        ("ram_cap_bytes", 100),
        ("optimiser", "lion"),
        ("classes", ["ok"]),
        ("classes", ["ok", "ok"]),
        ("classes", ["ok", "../secret"]),
        ("classes", ["ok", ""]),
        ("classes", "ok"),
        ("classes", [1, 2]),
        ("trainable", []),
        ("trainable", ["stem.weight"]),
        ("weights_path", "relative/w"),
        ("weights_path", "/nowhere/at/all"),
        ("inference_path", "/nul\0byte"),
        ("train_graph_path", "/"),
        ("data_dir", "/nowhere/at/all"),
        ("test_dir", "/nowhere/at/all"),
        ("output_dir", "out"),
        ("no_such_field", 1),
    ],
)
def test_names_the_field_that_is_wrong(job_file, field, value):
    with pytest.raises(BadJobError) as caught:
        load_job(job_file(**{field: value}))
    assert caught.value.field == field
    assert repr(field) in str(caught.value)


def test_names_a_field_that_is_missing(job_file):
    path = job_file()
    fields = json.loads(path.read_text())
    del fields["epochs"]
    path.write_text(json.dumps(fields))
    with pytest.raises(BadJobError) as caught:
        load_job(path)
    assert caught.value.field == "epochs"


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "[" * 100_000, '"text"', "{}"])
def test_refuses_what_is_no_job(tmp_path, text):
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(BadJobError):
        load_job(path)


def test_refuses_a_job_file_that_is_absent_or_endless(tmp_path):
    with pytest.raises(BadJobError):
        load_job(tmp_path / "absent.json")
    long = tmp_path / "long.json"
    long.write_bytes(b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(BadJobError, match="longer"):
        load_job(long)
