from app.domain.release_check import contradictions
from tests.app.release_maker import point, release


def test_a_release_that_agrees_with_itself_has_nothing_against_it():
    assert contradictions(release()[0]) == ()


def test_each_contradiction_is_named():
    made, _ = release(1, (point("a"),))
    wrong = made.model_copy(
        update={
            "variants": (*made.variants, *made.variants),
            "points": (
                *made.points,
                *made.points,
                point("missing"),
                point("a", cut="middle1"),
                point("a", cut="c" * 80).model_copy(update={"task": "t" * 70}),
            ),
        }
    )
    found = " ".join(contradictions(wrong))
    for words in ("2 times", "does not hold", "no graph", "another task"):
        assert words in found
