"""A new model and the one in use, on images that neither was trained on."""

from pathlib import Path

from tests.models.finetune.conftest import write_images


def seen_of(job):
    return (Path(job["output_dir"]) / "seen.txt").read_text().split()


def test_a_job_leaves_a_list_of_what_its_model_has_seen(job, finetune):
    mine = job("head", epochs=1)
    result = finetune(mine).result

    assert len(seen_of(mine)) == result["n_train"] + result["n_validation"]
    assert result["balanced_accuracy_rival"] is None
    assert result["n_rival"] == 0


def test_a_model_ties_with_itself_on_all_the_test_images(job, finetune, tmp_path):
    first = job("head", epochs=1, output_dir=str(tmp_path / "first"))
    finetune(first)
    second = job(
        "head", epochs=1, job_id="job-2", rival_path=str(tmp_path / "first" / "model.onnx")
    )
    result = finetune(second).result

    assert result["n_rival"] == result["n_test"]
    assert result["balanced_accuracy_rival"] == result["balanced_accuracy_after"]
    assert result["balanced_accuracy_against_rival"] == result["balanced_accuracy_after"]


def test_what_the_rival_has_seen_does_not_count(job, finetune, tmp_path):
    grown = write_images(tmp_path / "grown", (40, 40), seed=7)
    first = job("head", epochs=1, output_dir=str(tmp_path / "first"), data_dir=str(grown))
    finetune(first)
    for number in range(10):
        for name in ("ok", "defect"):
            more = write_images(tmp_path / f"more-{name}-{number}", (1, 1), seed=100 + number)
            (more / name / "000.png").rename(grown / name / f"new-{number}.png")
    second = job(
        "head", epochs=1, job_id="job-2", data_dir=str(grown),
        rival_path=str(tmp_path / "first" / "model.onnx"),
        rival_seen_path=str(tmp_path / "first" / "seen.txt"),
    )  # fmt: skip
    result = finetune(second).result

    assert 0 < result["n_rival"] < result["n_test"]
    assert 0 <= result["balanced_accuracy_rival"] <= 1


def test_where_the_rival_has_seen_a_whole_class_all_test_images_count(job, finetune, tmp_path):
    few = str(write_images(tmp_path / "few", (6, 6), seed=3))
    first = job("head", epochs=1, output_dir=str(tmp_path / "first"), data_dir=few, seed=1)
    n_kept_back = finetune(first).result["n_test"]
    second = job(
        "head", epochs=1, job_id="job-2", data_dir=few, seed=2,
        rival_path=str(tmp_path / "first" / "model.onnx"),
        rival_seen_path=str(tmp_path / "first" / "seen.txt"),
    )  # fmt: skip
    result = finetune(second).result

    n_now_trained_on = len(set(seen_of(second)) - set(seen_of(first)))
    assert n_kept_back - n_now_trained_on < 2
    assert result["n_rival"] == result["n_test"] >= 2


def test_a_rival_that_is_not_there_is_named(job, finetune, tmp_path):
    ended = finetune(job("head", rival_path=str(tmp_path / "gone.onnx")))

    assert ended.code == 2
    assert "rival_path" in ended.result["reason"]
