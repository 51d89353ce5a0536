import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contract.architecture import (
    SPEC_ADAPTER,
    EfficientNetV2Spec,
    MobileNetV2Spec,
    XceptionSpec,
    spec_hash,
)
from models.networks.registry import NETWORKS

PLAIN = XceptionSpec(input_px=64, head_units=2)
OTHER_VALUES = {
    XceptionSpec: {
        "input_px": 96,
        "in_channels": 1,
        "head_units": 1,
        "dropout": 0.2,
        "stem_widths": (16, 64),
        "stem_padding": "same",
        "entry_widths": (64, 728),
        "entry_kernels": (1, 3),
        "middle_depth": 4,
        "middle_widths": (256, 728, 728),
        "middle_kernels": (1, 1, 3),
        "exit_widths": (728, 512),
        "exit_kernels": (1, 3),
        "exit_shortcut_kernel": 3,
        "head_pool": "average_max",
        "tail_widths": (1536,),
        "shortcut_batchnorm": False,
        "conv_bias": True,
    },
    EfficientNetV2Spec: {
        "input_px": 96,
        "in_channels": 1,
        "head_units": 1,
        "dropout": 0.2,
        "width_multiplier": 0.5,
        "depth_multiplier": 1.0,
    },
    MobileNetV2Spec: {
        "input_px": 96,
        "in_channels": 1,
        "head_units": 1,
        "dropout": 0.2,
        "width_multiplier": 0.5,
    },
}
CHANGES = [(k, f, v) for k, values in OTHER_VALUES.items() for f, v in values.items()]

widths = st.integers(4, 64)
kernels = st.sampled_from([1, 3])


@st.composite
def xception_specs(draw):
    entry = draw(st.lists(widths, min_size=1, max_size=3))
    steps = draw(st.lists(kernels, min_size=1, max_size=3))
    middle = [*draw(st.lists(widths, min_size=len(steps) - 1, max_size=len(steps) - 1)), entry[-1]]
    return XceptionSpec(
        input_px=draw(st.integers(32, 512)),
        head_units=draw(st.integers(1, 3)),
        dropout=draw(st.floats(0, 0.9)),
        entry_widths=entry,
        middle_depth=draw(st.integers(0, 3)),
        middle_widths=middle,
        middle_kernels=steps,
        tail_widths=draw(st.lists(widths, min_size=1, max_size=2)),
    )


@given(xception_specs(), xception_specs())
def test_two_specs_share_a_hash_exactly_when_they_are_equal(one, other):
    assert (spec_hash(one) == spec_hash(other)) == (one == other)
    assert spec_hash(one) == spec_hash(one.model_copy())


@given(xception_specs())
def test_a_spec_survives_json_with_its_hash(spec):
    read = SPEC_ADAPTER.validate_json(spec.model_dump_json())

    assert read == spec
    assert hash(read) == hash(spec)
    assert spec_hash(read) == spec_hash(spec)


@pytest.mark.parametrize(("kind", "field", "value"), CHANGES)
def test_every_field_of_a_spec_changes_its_hash(kind, field, value):
    plain = kind(input_px=64, head_units=2)
    fields = plain.model_dump() | {field: value}

    assert spec_hash(kind(**fields)) != spec_hash(plain)


@pytest.mark.parametrize("kind", OTHER_VALUES)
def test_no_field_of_a_spec_is_left_out_of_that_check(kind):
    assert set(OTHER_VALUES[kind]) == set(kind.model_fields) - {"family"}


def test_the_hash_of_a_spec_is_the_same_in_every_release_of_the_project():
    """A network's trained weights and its lineage are found by it."""
    known = "662b740b30b4095225f44c0a93f3e943a00ba00d4d33bb78dda0f5f42e39fb65"

    assert spec_hash(PLAIN) == known


@pytest.mark.parametrize("name", NETWORKS)
def test_every_registered_network_survives_json(name):
    spec = NETWORKS[name]

    assert SPEC_ADAPTER.validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"middle_widths": (728,)}, "same length"),
        ({"middle_widths": (728, 728, 64)}, "identity shortcut"),
        ({"middle_widths": (), "middle_kernels": ()}, "identity shortcut"),
        ({"entry_widths": ()}, "at least 1"),
        ({"tail_widths": ()}, "at least 1"),
        ({"middle_depth": 17}, "less than or equal to 16"),
        ({"input_px": 31}, "greater than or equal to 32"),
        ({"input_px": 513}, "less than or equal to 512"),
        ({"head_units": 0}, "greater than or equal to 1"),
        ({"in_channels": 7}, "less than or equal to 6"),
        ({"dropout": 1.0}, "less than 1"),
        ({"entry_kernels": (5, 3)}, "1 or 3"),
        ({"stem_widths": (2, 64)}, "greater than or equal to 4"),
        ({"head_pool": "max"}, "average"),
    ],
)
def test_a_spec_that_no_network_can_be_built_from_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        XceptionSpec(**({"input_px": 64, "head_units": 2} | changes))


def test_without_a_middle_flow_its_widths_need_not_fit():
    spec = XceptionSpec(
        input_px=64, head_units=2, middle_depth=0, middle_widths=(), middle_kernels=()
    )

    assert spec.middle_depth == 0


@pytest.mark.parametrize("kind", [EfficientNetV2Spec, MobileNetV2Spec])
@pytest.mark.parametrize("bad", [0.0, -1.0, 4.1, float("nan")])
def test_a_multiplier_is_positive_and_bounded(kind, bad):
    with pytest.raises(ValidationError):
        kind(input_px=64, head_units=2, width_multiplier=bad)


def test_a_family_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="family"):
        SPEC_ADAPTER.validate_python({"family": "resnet", "input_px": 64, "head_units": 2})
