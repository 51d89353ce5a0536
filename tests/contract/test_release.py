import pytest
from pydantic import ValidationError

from tests.contract.payloads import changed, parse, recorded


def release():
    return parse("release", recorded("release"))


def test_a_release_survives_the_wire():
    made = release()

    assert type(made).model_validate_json(made.model_dump_json()) == made


def test_every_file_of_a_release_is_listed_once():
    made = release()

    assert set(made.artifacts()) == {
        artifact.sha256
        for variant in made.variants
        for graph in variant.train_graphs
        for artifact in (variant.weights, variant.inference, graph.artifact)
    }


def test_a_variant_is_found_by_its_name():
    made = release()

    assert made.variant("mobile").spec.family == "mobilenetv2"
    with pytest.raises(KeyError):
        made.variant("nobody")


@pytest.mark.parametrize(
    ("place", "bad"),
    [
        (("number",), 0),
        (("number",), 2**31),
        (("schema_version",), 2),
        (("task",), "PCB"),
        (("variants", 0, "name"), "../up"),
        (("variants", 0, "parameters"), 0),
        (("variants", 0, "spec", "middle_widths"), [4]),
        (("variants", 0, "weights", "sha256"), "../../etc/passwd"),
        (("variants", 0, "weights", "length_bytes"), -1),
        (("variants", 0, "weights", "kind"), "pickle"),
        (("variants", 0, "train_graphs", 0, "cut"), "a/b"),
        (("points", 0, "plan", "micro_batch"), 5),
    ],
)
def test_a_release_that_names_anything_out_of_bounds_is_refused(place, bad):
    with pytest.raises(ValidationError):
        parse("release", changed(recorded("release"), place, bad))
