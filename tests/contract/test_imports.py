"""The contract stays cheap to import: pydantic at most, and nothing at all on the box's child."""

import json
import pkgutil
import subprocess
import sys

import pytest

import contract

MODULES = [found.name for found in pkgutil.iter_modules(contract.__path__)]
PYDANTIC = {
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
}


def brought_in(module):
    """Return the third-party packages that a fresh interpreter has after the import."""
    code = (
        "import sys; before = set(sys.modules)\n"
        f"import {module}\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "import json; print(json.dumps(sorted(names - set(sys.stdlib_module_names))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {
        name
        for name in json.loads(done.stdout)
        if name != "contract" and not name.startswith("_sysconfigdata")
    }


def test_all_modules_together_bring_in_pydantic_and_nothing_else():
    everything = ", ".join(f"contract.{name}" for name in MODULES)

    assert brought_in(everything) <= PYDANTIC


@pytest.mark.parametrize("module", ["contract", "contract.finetune"])
def test_what_the_fine_tune_program_reads_brings_in_nothing(module):
    assert brought_in(module) == set()
