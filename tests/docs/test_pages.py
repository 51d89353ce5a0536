"""Links lead somewhere, and the commands on the pages exist with the options that they use."""

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest
from typer.main import get_command

from app.cli import app as server_cli
from device_agent.cli import app as agent_cli
from models.cli import app as lab_cli
from tests.docs.pages import DOCS, PAGES, ROOT, command_lines

PROGRAMS = {
    ("paretofleet",): server_cli,
    ("device_agent",): agent_cli,
    ("python", "-m", "models"): lab_cli,
}
LIGHT = {"finetune", "floor", "latency"}
"""Commands that are started without the command line's library."""
ENDS = {"&&", "||", "|", "&", ";", ">"}
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|tmp|root|home)/")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_every_page_is_reached_from_the_index():
    index = (DOCS / "README.md").read_text()
    for page in DOCS.rglob("*.md"):
        name = str(page.relative_to(DOCS))
        assert name == "README.md" or f"({name})" in index, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_path_of_one_machine(page):
    assert not MACHINE_PATHS.search(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_exists_with_its_options(page):
    for line in command_lines(page):
        for start, program in PROGRAMS.items():
            for words in calls(line, start):
                assert words, line
                if words[0] not in LIGHT:
                    check(get_command(program), words, line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_exists(page):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in command_lines(page):
        for words in calls(line, ("make",)):
            assert words[0] in targets, line


def test_every_benchmark_is_named_with_a_command_that_exists():
    text = (DOCS / "benchmarks.md").read_text()
    named = {Path(name).stem for name in re.findall(r"bench[./](\w+)", text)}
    assert named == {path.stem for path in (ROOT / "bench").glob("*.py")}


def calls(line, start):
    """Yield the words that follow each call of a program in a line, up to the next command."""
    words = shlex.split(line, comments=True)
    for at in range(len(words)):
        if tuple(words[at : at + len(start)]) == start:
            yield list(takewhile(lambda word: word not in ENDS, words[at + len(start) :]))


def check(command, words, line):
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    inner = getattr(command, "commands", {})
    if inner:
        assert words[0] in {*inner, *known}, line
        return check(inner[words[0]], words[1:], line) if words[0] in inner else None
    for word in words:
        assert not word.startswith("--") or word.partition("=")[0] in known, line
    return None
