"""A lab in miniature: a network of a few thousand parameters and a pool of a few dozen tiles."""

import json

import torch

from contract.architecture import XceptionSpec
from models.data.generator.boards import write_board
from models.data.pool import PoolRecipe
from models.graphs import export_variant
from models.networks import build
from models.train import RECORD_FILE, Recipe
from models.variant import describe_variant

PX = 64
CUTS = ("head", "exit", "stem")
SPEC = XceptionSpec(
    input_px=PX,
    head_units=2,
    dropout=0.2,
    stem_widths=(8, 8),
    stem_padding="same",
    entry_widths=(12, 16),
    entry_kernels=(1, 3),
    middle_depth=1,
    middle_widths=(16, 16),
    middle_kernels=(1, 3),
    exit_widths=(16, 24),
    head_pool="average_max",
    tail_widths=(32,),
)
POOL = PoolRecipe(
    generated=60, generated_boards=10, validation=20, validation_boards=4, deeppcb_crops=0, px=PX
)
RECIPE = Recipe(steps=8, batch=8, evaluate_every=2)


def quiet(*_said):
    """Report to nobody."""


def export_tiny(folder):
    """Export the network with random weights, as if it had been trained, and describe it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build(SPEC).eval()
    export_variant(network, CUTS, folder)
    (folder / RECORD_FILE).write_text(json.dumps({"validation_auc": 0.5, "seconds": 1.0}))
    return describe_variant("tiny", SPEC, classes=("ok", "defect"), cuts=CUTS, folder=folder)


def write_boards(folder, names=("a", "b"), per_class=8):
    """Draw boards as the lab measures on: tiles to learn from, other tiles to be tested on."""
    for number, name in enumerate(names):
        for seed, part in enumerate(("train", "test")):
            board = 9000 + number
            write_board(
                folder / name / part, board, n_ok=per_class, n_defect=per_class, px=PX, seed=seed
            )
    return folder
