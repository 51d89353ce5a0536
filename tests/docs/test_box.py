"""The page about a box: its steps are those of the table, its figures those of the code."""

from typing import get_args

from device_agent.loop import backoff
from device_agent.loop.rollback import FAILURES_BEFORE_ROLLBACK
from device_agent.loop.state import TABLE, Step
from device_agent.loop.steps import MOST_ATTEMPTS, MOST_STARTS
from device_agent.server import outbox
from device_agent.server.sending import BATCHES_A_ROUND
from device_agent.settings import AgentSettings
from tests.docs.pages import DOCS, REFERENCE, assert_holds, table

PAGE = REFERENCE / "box.md"
AT_ANY_TIME = set(TABLE["profiled"])
MEANINGS = {
    "new": "nothing is known yet",
    "enrolled": "it has an identity",
    "profiled": "it has measured itself and listens",
    "assigned": "the server named a network and a plan",
    "fetched": "every file is in the cache",
    "verified": "every file was read again from the disk (length, SHA-256) and the network ran in "
    "a child",
    "trained": "the trainer's result is stored",
    "evaluated": "the result meets the floor and is no worse than the active model",
    "active": "the model serves, after a trial in a child",
    "rejected": "the task ended with an outcome; what was active stays",
    "rolled_back": "an older model serves, until the orders change",
    "cloud": "told to ask the cloud",
    "idle": "told to do nothing",
}


def steps_table():
    rows = (
        (
            f"`{step}`",
            MEANINGS[step],
            ", ".join(f"`{to}`" for event, to in row.items() if event not in AT_ANY_TIME),
        )
        for step, row in sorted(TABLE.items(), key=lambda item: get_args(Step).index(item[0]))
    )
    return table(("step", "meaning", "then"), rows)


def test_every_step_stands_on_the_page_with_what_may_follow():
    assert_holds(PAGE, steps_table())


def test_the_figures_on_the_page_are_those_of_the_code():
    text = " ".join(PAGE.read_text().split())
    cap_bytes = AgentSettings.model_fields["outbox_bytes"].default
    assert f"{cap_bytes:,} bytes" in text
    assert f"{BATCHES_A_ROUND} batches of at most {outbox.BATCH} reports" in text
    assert f"after {MOST_ATTEMPTS} failed attempts" in text
    assert f"begun {MOST_STARTS} times" in text
    assert f"{backoff._CAP_S:.0f} s" in text  # noqa: SLF001 - it is told to people
    assert FAILURES_BEFORE_ROLLBACK == 3
    assert "three times in a row" in " ".join(
        (DOCS / "how-to" / "roll-back.md").read_text().split()
    )
