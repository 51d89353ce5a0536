"""The examples on the page about serving are run, against a box that serves a starter model."""

import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

from device_agent.serving import serve
from device_agent.serving.images import MOST_BYTES
from device_agent.serving.oip import MOST_FILES, MOST_JSON_BYTES, MOST_TILES, OUTPUTS
from device_agent.serving.predict import Predictor
from device_agent.serving.watch_folder import MOST_A_ROUND
from tests.device_agent.desk import (
    NoCloud,
    keeping_policy,
    make_shelf,
    put,
    serving,
    starter_model,
)
from tests.docs.pages import DOCS

PAGE = (DOCS / "how-to" / "serve-predictions.md").read_text(encoding="utf-8")
BASH = shutil.which("bash") or "bash"
EXAMPLES = [
    b for b in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "curl " in b
]


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_answered(example, tmp_path):
    shelf = make_shelf(tmp_path / "state")
    content, px = starter_model("rx-2xs-064")
    put(shelf, "starter", content, px)
    Image.new("RGB", (128, 128), (10, 90, 40)).save(tmp_path / "image.png")
    (tmp_path / "tile.rgb").write_bytes(bytes(128 * 128 * 3))
    with serving(Predictor(shelf, keeping_policy, NoCloud())) as server:
        script = example.replace("8010", str(server.port)).replace("\ncurl", "; echo; curl")
        done = subprocess.run(
            [BASH, "-ec", script],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert len(answers) == example.count("curl ")
    if "infer" in example or "predict" in example:
        assert re.search(r'"(ok|defect)"', done.stdout)


def test_the_bounds_on_the_page_are_those_of_the_code():
    bounds = serve.Bounds()
    for words in (
        f"{bounds.at_once} predictions at once; others wait {bounds.patience_s:g} s",
        f"{bounds.connections} connections",
        f"{MOST_BYTES / 1e6:.0f} MB a body, {MOST_JSON_BYTES / 1e6:.0f} MB of JSON",
        f"{bounds.body_bytes / 1e6:.0f} MB of bodies at once",
        f"{bounds.request_s:.0f} s after its first byte; {bounds.idle_s:.0f} s of silence",
        f"at most {MOST_FILES})",
        f"at most {MOST_TILES} tiles",
        f"At most {MOST_A_ROUND} images a look",
    ):
        assert words in " ".join(PAGE.split()), words
    for name in OUTPUTS:
        assert f"| `{name}` |" in PAGE
