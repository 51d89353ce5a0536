"""A lab in miniature: a network of a few thousand parameters and a pool of a few dozen tiles."""

from contract.architecture import XceptionSpec
from models.data.pool import PoolRecipe
from models.train import Recipe

PX = 64
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
