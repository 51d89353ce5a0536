"""A tiny variant, a folder of easy images, and the program itself in a child process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from contract.architecture import XceptionSpec
from models.graphs.export import ExportedVariant, export_variant
from models.networks import Network, build

PX = 32
CLASSES = ("ok", "defect")
CUTS = ("head", "exit", "stem")
_SPEC = XceptionSpec(
    input_px=PX,
    head_units=2,
    dropout=0.2,
    stem_widths=(8, 16),
    stem_padding="same",
    entry_widths=(24, 32),
    middle_depth=1,
    middle_widths=(32, 32),
    middle_kernels=(3, 3),
    exit_widths=(32, 48),
    tail_widths=(64,),
)
Job = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run of the program ended."""

    code: int
    result: dict[str, Any] | None
    lines: list[dict[str, Any]]
    errors: str

    def steps(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == "step"]


def draw_image(rng: np.random.Generator, label: int, px: int = PX) -> np.ndarray:
    """Return a smooth image, with a bright square on it when ``label`` is 1."""
    coarse = Image.fromarray(rng.integers(40, 140, (5, 5, 3)).astype(np.uint8))
    image = np.asarray(coarse.resize((px, px), Image.Resampling.BICUBIC)).copy()
    if label:
        y, x = rng.integers(0, px - px // 4, 2)
        image[y : y + px // 4, x : x + px // 4] = (250, 240, 200)
    return image


def write_images(folder: Path, per_class: tuple[int, int], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(per_class[label]):
            image = Image.fromarray(draw_image(rng, label))
            image.save(folder / name / f"{number:03}.png", compress_level=1)
    return folder


def _with_lively_statistics(network: Network) -> Network:
    rng = np.random.default_rng(1)
    images = np.stack([draw_image(rng, n % 2) for n in range(64)])
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    network.train()
    with torch.no_grad():
        for _ in range(30):
            network(scaled)
    return network.eval()


@pytest.fixture(scope="session")
def variant(tmp_path_factory) -> ExportedVariant:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = _with_lively_statistics(build(_SPEC))
    return export_variant(network, CUTS, tmp_path_factory.mktemp("variant"))


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "board", (60, 60))


@pytest.fixture
def job(variant, images, tmp_path) -> Callable[..., Job]:
    """Return a function that makes a job: ``job("stem", epochs=1)``."""
    graphs = {graph.cut: graph for graph in variant.train_graphs}

    def make(cut: str = "exit", **changes: Any) -> Job:
        fields: Job = {
            "job_id": "job-1",
            "variant": "tiny",
            "weights_path": str(variant.weights),
            "inference_path": str(variant.inference),
            "train_graph_path": str(graphs[cut].path),
            "output_dir": str(tmp_path / "out"),
            "data_dir": str(images),
            "classes": list(CLASSES),
            "trainable": list(graphs[cut].trainable),
            "frozen": list(graphs[cut].frozen),
            "input_px": PX,
            "in_channels": 3,
            "batch": 16,
            "micro_batch": 8,
            "epochs": 2,
            "optimiser": "adam",
            "learning_rate": 3e-3,
            "dropout": 0.2,
        }
        return fields | changes

    return make


def start(job: Job, folder: Path, **options: Any) -> "subprocess.Popen[str]":
    """Start the program on ``job``; its job file lies in ``folder``."""
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.Popen(
        [sys.executable, "-m", "models", "finetune", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


@pytest.fixture
def finetune(tmp_path) -> Callable[..., Ended]:
    """Return a function that runs a job to its end."""

    def run(job: Job, **options: Any) -> Ended:
        with start(job, tmp_path, **options) as child:
            out, errors = child.communicate(timeout=60)
        stored = Path(job["output_dir"]) / "result.json"
        result = json.loads(stored.read_bytes()) if stored.is_file() else None
        lines = [json.loads(line) for line in out.splitlines()]
        return Ended(code=child.returncode, result=result, lines=lines, errors=errors)

    return run


@pytest.fixture
def finetune_until(tmp_path) -> Callable[..., int]:
    """Return a function that runs a job and sends it a signal after its n-th progress line."""

    def run(job: Job, lines: int, number: int) -> int:
        with start(job, tmp_path) as child:
            for _, _line in zip(range(lines), child.stdout, strict=False):
                pass
            child.send_signal(number)
            child.communicate(timeout=60)
        return child.returncode

    return run
