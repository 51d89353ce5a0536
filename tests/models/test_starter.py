from dataclasses import replace

import pytest

from contract.plan import FULL, HEAD
from models import starter
from models.data.generator.tiles import CLASSES
from models.data.pool import OTHER_BOARD_SEEDS, PoolRecipe
from models.networks import build
from models.networks.registry import NETWORKS, STARTER
from models.release import ReleaseExistsError, read_release
from models.starter import (
    MEASURE_BOARDS,
    PHASES,
    NotAStarterError,
    Phase,
    build_pools,
    cuts_of,
    make_starter,
    plans_of,
    publish,
    train_phases,
    train_variant,
)
from tests.models.labs import POOL, RECIPE, SPEC, quiet
from tests.models.points import point


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    return build_pools(tmp_path_factory.mktemp("work"), POOL, quiet)


@pytest.mark.parametrize("name", STARTER)
def test_every_starter_network_offers_cuts_from_the_head_to_everything(name):
    blocks = build(NETWORKS[name]).blocks

    cuts = cuts_of(blocks)

    assert cuts[0] == HEAD
    assert cuts[-1] == FULL
    places = [blocks.index(cut) for cut in cuts]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", STARTER)
def test_every_starter_network_has_one_plan_a_cut_at_its_own_size(name):
    blocks = build(NETWORKS[name]).blocks

    plans = plans_of(NETWORKS[name], blocks)

    assert tuple(plan.scope.cut for plan in plans) == cuts_of(blocks)
    assert {plan.input_px for plan in plans} == {NETWORKS[name].input_px}


@pytest.mark.parametrize("name", STARTER)
def test_every_starter_network_has_phases_that_end_at_its_own_size(name):
    phases = PHASES[name]

    assert phases[-1].px == NETWORKS[name].input_px
    assert [p.px for p in phases] == sorted(p.px for p in phases)


def test_points_are_measured_on_boards_that_no_pool_holds():
    recipe = PoolRecipe()

    assert min(MEASURE_BOARDS) >= OTHER_BOARD_SEEDS > recipe.generated_boards


def test_the_classes_of_a_release_are_those_of_its_tiles():
    assert starter.CLASSES == CLASSES


def test_a_later_phase_follows_the_earlier_and_a_shared_one_is_trained_once(pools, tmp_path):
    said = []
    recipe = replace(RECIPE, batch=4)
    small, large = Phase(px=48, steps=2), Phase(px=64, steps=3)

    def trained(*phases):
        return train_phases(SPEC, phases, pools, recipe, tmp_path, lambda *line: said.append(line))

    first, last = trained(small), trained(small, large)
    again = trained(small, large)

    stages = [(stage.partition(":")[0], done, total) for stage, done, total in said]
    assert stages == [
        ("phase 1", 1, 2),
        ("phase 1", 2, 2),
        ("phase 2", 1, 3),
        ("phase 2", 2, 3),
        ("phase 2", 3, 3),
    ]
    assert first != last == again


def test_a_phase_trained_otherwise_is_not_mistaken_for_the_one_that_is_asked_for(pools, tmp_path):
    recipe = replace(RECIPE, batch=4)

    def trained(*phases):
        return train_phases(SPEC, phases, pools, recipe, tmp_path, quiet)

    near, wide = Phase(px=48, steps=2), Phase(px=48, steps=2, light="wide")

    assert len({trained(near), trained(wide), trained(near, near), trained(wide, near)}) == 4


@pytest.mark.parametrize("name", ["xception", "mobilenetv2", "rx-xs-064", "nobody"])
def test_a_network_without_phases_is_refused_before_anything_is_made(name, pools, tmp_path):
    with pytest.raises(NotAStarterError, match="choose one of"):
        train_variant(name, pools, RECIPE, tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_release_that_exists_is_refused_at_once_and_not_after_hours(tmp_path):
    with pytest.raises(ReleaseExistsError):
        make_starter(
            tmp_path,
            number=1,
            work=tmp_path / "work",
            recipe=RECIPE,
            pool_recipe=POOL,
            report=quiet,
        )
    assert not (tmp_path / "work").exists()


def test_a_published_release_is_whole_and_has_its_card(tiny, tmp_path):
    measured = point(variant="tiny")

    made = publish(tmp_path / "r", number=2, title="Trial", variants=[tiny], points=[measured])

    assert read_release(tmp_path / "r") == made
    assert made.points == (measured,)
    assert "Trial (release 2)" in (tmp_path / "r" / "MODEL_CARD.md").read_text()


def test_a_release_may_be_published_before_anything_is_measured(tiny, tmp_path):
    publish(tmp_path / "r", number=2, title="Trial", variants=[tiny], points=[])

    assert "Nothing has been measured" in (tmp_path / "r" / "MODEL_CARD.md").read_text()
