"""Seeded generator of photographs of printed circuit board tiles, with and without defects.

A board seed draws a style (mask colour, track width, pads, light, zoom); a tile seed draws the
layout under that style, the defect and the noise. It makes data to train a release on; it does not
claim to be a physical model of a board, and no published accuracy is measured on it alone.
"""

from models.data.generator.defects import DEFECT_KINDS
from models.data.generator.tiles import generate_tile, tiles

__all__ = ["DEFECT_KINDS", "generate_tile", "tiles"]
