"""What runs on the box stays small: no heavy library comes in by the back door."""

import subprocess
import sys

import pytest

HEAVY = ("cv2", "torch", "onnx", "pydantic", "typer", "rich", "scipy")


@pytest.mark.parametrize("module", ["folder", "duplicates", "split", "pcb_tiles"])
def test_importing_it_brings_in_nothing_heavy(module):
    code = (
        f"import sys, models.data.{module}\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
