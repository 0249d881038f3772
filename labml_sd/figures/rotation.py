r"""The clean latent and the noise as axes; the noisy latent and v are these axes, turned.

Maps       angles  ->  Picture
Tests      tests/figures/test_rotation.py
"""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.patches import Arc

from labml_sd.figures.picture import COLOURS, INK, PALE, Picture, from_figure
from labml_sd.figures.plots import Number, arrow, axes, bare

ARROWS = {"x0": (INK, 0.0), "eps": (INK, 90.0), "x": (COLOURS[0], 0.0), "v": (COLOURS[1], 90.0)}
TURNED = ("x", "v")
LABELS = {"x0": (1.2, 0.0), "eps": (1.2, 90.0), "x": (0.8, -12.0), "v": (0.8, 102.0)}
"""Distance and angle of each label; those of x and v stand beside the arrow and turn too."""


def turned_axes(angles: Mapping[str, Number]) -> Picture:
    """A panel for each angle in degrees: x is x0 turned by it, and v is eps turned by it."""
    with axes(len(angles), size=(2.5, 2.2)) as (figure, ((*panels,),)):
        for panel, (title, angle) in zip(panels, angles.items(), strict=True):
            for name, (colour, start) in ARROWS.items():
                turn = angle if name in TURNED else 0
                width = 2.4 if name in TURNED else 1.2
                style: dict[str, Any] = {"color": colour, "linewidth": width}
                arrow(panel, (0, 0), _at(1.0, start + turn), mutation_scale=14, **style)
                radius, label = LABELS[name]
                centred = {"ha": "center", "va": "center"}
                panel.text(*_at(radius, label + turn), name, color=colour, **centred)
            panel.add_patch(Arc((0, 0), 0.7, 0.7, theta2=float(angle), color=PALE, linewidth=2))
            panel.set(title=title, xlim=(-1.4, 1.4), ylim=(-0.25, 1.4), aspect="equal")
            panel.set(xticks=[], yticks=[])
            bare(panel)
        return from_figure(figure)


def _at(radius: float, degrees: float) -> tuple[float, float]:
    """The point at a distance and an angle."""
    turn = math.radians(degrees)
    return radius * math.cos(turn), radius * math.sin(turn)
