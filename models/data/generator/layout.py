"""A tile's layout under a board's design rules, from its nets to its print.

It draws what a board should be; `defects` breaks it and `render` photographs it.
"""

from dataclasses import dataclass

import numpy as np

from models.data.generator.canvas import Layout
from models.data.generator.dressing import cut_board_edge, draw_legend, draw_pour, draw_print
from models.data.generator.geometry import chance
from models.data.generator.pads import draw_components
from models.data.generator.style import BoardStyle
from models.data.generator.tracks import draw_tracks


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How often a tile shows nothing but mask, few tracks, or the edge of the board."""

    plain_share: float = 0.05
    sparse_share: float = 0.25
    edge_share: float = 0.12


def draw_layout(
    style: BoardStyle, rng: np.random.Generator, width: int, height: int, scene: Scene
) -> Layout:
    """Return one defect-free tile, drawn on a canvas of ``width`` by ``height``."""
    layout = Layout(style, rng, width, height)
    plain = rng.random()
    if plain < scene.plain_share:
        if chance(rng, 0.7):
            layout.masks.copper[:] = 255
    else:
        draw_components(layout)
        draw_tracks(layout, few=plain < scene.plain_share + scene.sparse_share)
        if chance(rng, style.pour_share):
            draw_pour(layout)
        if chance(rng, style.legend_share):
            draw_legend(layout)
    if chance(rng, scene.edge_share):
        cut_board_edge(layout)
    if chance(rng, style.silk_share):
        draw_print(layout)
    return layout
