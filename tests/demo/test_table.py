import io

import pytest
from rich.console import Console

from demo.__main__ import wide_console
from demo.table import COLUMNS, cells, fleet_table, megabytes, reasons

PLAN = {"scope": {"cut": "stem"}, "input_px": 128, "batch": 32, "micro_batch": 8}
NO_FIGURES = dict.fromkeys(
    ["peak_rss_bytes", "cap_bytes", "balanced_accuracy_before", "balanced_accuracy_after",
     "n_test", "seconds"]
)  # fmt: skip


def row(plan=PLAN, next_better="rx-l-224 (full) needs 738 MB: 195 MB short", **outcome):
    chosen = plan and {"variant": "rx-s-128", "plan": plan}
    known = {
        "status": "activated",
        "reason": "",
        "peak_rss_bytes": 306_400_000,
        "cap_bytes": 543_000_000,
        "balanced_accuracy_before": 0.6254,
        "balanced_accuracy_after": 0.7,
        "n_test": 40,
        "seconds": 15.6,
    }
    return {
        "device": {"serial": "box-700MB"},
        "decision": {
            "action": "train" if plan else "cloud",
            "budget": {"total_bytes": 543_000_000, "bound_by": "operator_cap"},
            "chosen": chosen,
            "next_better": next_better,
        },
        "outcome": known | outcome,
    }


def texts(made):
    return dict(zip(COLUMNS, cells(made["device"], made["decision"], made["outcome"]), strict=True))


def printed(rows, width=180):
    stream = io.StringIO()
    Console(file=stream, width=width).print(fleet_table(rows))
    return stream.getvalue()


def test_a_row_says_what_a_box_was_given_and_what_came_of_it():
    assert texts(row()) == {
        "box": "box-700MB",
        "budget": "543 MB",
        "bound by": "operator cap",
        "variant": "rx-s-128",
        "plan": "full, 128 px, batch 32 by 8",
        "why not the next better one": "rx-l-224 (full) needs 738 MB: 195 MB short",
        "peak RSS / cap": "306 MB / 543 MB",
        "balanced accuracy": "0.625 -> 0.700 (n = 40)",
        "seconds": "16",
        "outcome": "activated",
    }


def test_a_figure_that_is_not_known_is_a_dash():
    said = texts(row(status="refused", **NO_FIGURES))

    assert said["peak RSS / cap"] == "- / -"
    assert said["balanced accuracy"] == "- -> - (n = -)"
    assert said["seconds"] == "-"


@pytest.mark.parametrize("figure", NO_FIGURES)
def test_any_single_figure_may_be_missing(figure):
    assert "None" not in " ".join(texts(row(**{figure: None})).values())


def test_a_box_that_was_given_nothing_says_what_it_does_instead():
    said = texts(row(plan=None, status="cloud"))

    assert (said["variant"], said["plan"]) == ("cloud", "-")


@pytest.mark.parametrize(("cut", "word"), [("head", "head"), ("middle3", "from middle3")])
def test_a_plan_says_how_much_of_the_network_trains(cut, word):
    assert texts(row(plan=PLAN | {"scope": {"cut": cut}}))["plan"].startswith(f"{word}, ")


def test_zero_is_a_figure():
    assert megabytes(0) == "0 MB"
    assert texts(row(balanced_accuracy_after=0.0))["balanced accuracy"].startswith("0.625 -> 0.000")


def test_words_in_square_brackets_are_words():
    said = printed([row(next_better="[red]odd[/blue] [/]")])

    assert "[red]odd[/blue] [/]" in said


def test_a_table_in_a_file_is_wide_enough_to_be_read():
    stream = io.StringIO()
    console = wide_console(stream)

    console.print(fleet_table([row(), row(plan=None)]))

    assert console.width >= 170
    said = stream.getvalue()
    for words in ("box-700MB", "operator cap", "full, 128 px, batch 32 by 8", "306 MB / 543 MB",
                  "0.625 -> 0.700 (n = 40)", "activated"):  # fmt: skip
        assert words in said


def test_nothing_is_lost_in_a_narrow_terminal():
    squeezed = "".join(printed([row()], width=60).split())

    assert len(squeezed) > 100


def test_a_box_that_serves_no_new_model_says_why():
    rows = [row(), row(status="refused", reason="ok holds 0 readable images")]

    assert reasons(rows) == ["box-700MB: ok holds 0 readable images"]
