from contract.architecture import XceptionSpec
from contract.release import Artifact, Release, TrainGraph, Variant
from models.card import render_card
from tests.models.points import point


def release():
    artifact = Artifact(kind="weights", sha256="0" * 64, length_bytes=1_500_000)
    variant = Variant(
        name="a",
        spec=XceptionSpec(input_px=64, head_units=2),
        classes=("ok", "defect"),
        parameters=370_000,
        blocks=("stem", "head"),
        weights=artifact,
        inference=artifact,
        train_graphs=(TrainGraph(cut="head", artifact=artifact, trainable=(), frozen=()),),
        lineage={"validation_auc": "0.93", "pool": "{}"},
    )
    worse = point(cut="exit", accuracy_lower=0.5)
    return Release(
        number=3,
        title="Trial",
        task="pcb-adapt",
        made_by="a test",
        variants=(variant,),
        points=(point(), worse),
    )


def test_the_card_shows_every_variant_and_every_point_with_its_conditions():
    card = render_card(release())

    assert "# Trial (release 3)" in card
    assert "| a | 64 px | 370,000 | 1.50 MB | 0.93 |" in card
    assert "2 boards, n = 200 labelled tiles each, 400 test tiles" in card
    assert "onnxruntime 1.32.0" in card


def test_the_card_claims_that_no_photograph_was_used_only_where_the_training_pool_is_on_record():
    made = release()
    unknown = made.variants[0].model_copy(update={"lineage": {}})

    assert "No photograph of a real" in render_card(made)
    card = render_card(made.model_copy(update={"variants": (unknown,)}))
    assert "No photograph" not in card
    assert "Not on record for a" in card


def test_the_card_names_the_boards_that_were_measured_on():
    made = release()
    boards = ("line-3", "line-4")
    points = [
        p.model_copy(update={"conditions": p.conditions.model_copy(update={"boards": boards})})
        for p in made.points
    ]

    assert "2 boards (line-3, line-4), n" in render_card(
        made.model_copy(update={"points": tuple(points)})
    )


def test_the_card_marks_the_front_and_leaves_dominated_points_unmarked():
    rows = [line for line in render_card(release()).splitlines() if "64px b32/8" in line]

    assert [row.rstrip("| ").endswith("yes") for row in rows] == [True, False]
