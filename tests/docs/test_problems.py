"""The problem types on the page are those of the code."""

from app.bodies import TYPE_PREFIX
from app.errors import FleetError
from tests.docs.pages import REFERENCE, assert_holds, table

PAGE = REFERENCE / "problems.md"


def kinds(kind=FleetError):
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def problems_table():
    found = sorted({(int(k.status), k.kind, k.title) for k in kinds()})
    rows = ((f"`{kind}`", status, title) for status, kind, title in found)
    return table(("type, after the prefix", "status", "title"), rows)


def test_every_problem_is_on_the_page():
    assert_holds(PAGE, problems_table())


def test_no_two_problems_share_a_type():
    names = [kind.kind for kind in kinds()]
    assert len(set(names)) == len(names)


def test_the_prefix_is_on_the_page():
    assert f"`{TYPE_PREFIX}`" in PAGE.read_text()
