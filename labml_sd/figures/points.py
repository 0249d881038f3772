r"""Points in the plane: sets of them, vector fields, paths, and a film of points that move.

Maps       points [n 2], vectors [n 2], paths [n_levels n 2]  ->  Picture
Tests      tests/figures/test_points.py
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.lines import Line2D
from PIL import Image
from PIL.ImageColor import getrgb
from torch import Tensor

from labml_sd.figures.grids import GAP, HEAD, LINE
from labml_sd.figures.page import Page, text_width
from labml_sd.figures.picture import COLOURS, INK, PALE, Picture, animation, from_figure
from labml_sd.figures.plots import Number, array, axes

Points = Float[Tensor, "_ 2"]
REACH = 2.6  # the panels show -REACH..REACH in both directions
MANY = 100  # more points than this are drawn as small dots
SIDE = 250  # CSS pixels of a panel of a film
PALETTE = (PALE, *COLOURS[1:4], COLOURS[0])
BEHIND = "#D5D5D5"  # data behind points and paths
FILM_COLOURS = (COLOURS[0], BEHIND, *("#" + 3 * digit for digit in "0123456789abcdef"))


def point_panels(
    panels: Mapping[str, Mapping[str, Points]], *, columns: int = 0, reach: Number = REACH
) -> Picture:
    """Panels of named sets of points; sets of one name have one colour and one legend entry.

    A set of a single point is drawn as a large star.
    """
    columns = columns or len(panels)
    names = list(dict.fromkeys(name for sets in panels.values() for name in sets))
    colours = dict(zip(names, cycle(PALETTE if len(names) > 1 else COLOURS), strict=False))
    legend: dict[str, Line2D] = {}
    with axes(columns, -(-len(panels) // columns), size=(2.5, 2.7)) as (figure, drawn):
        for panel in drawn.flat[len(panels) :]:
            panel.set_axis_off()
        for (title, sets), panel in zip(panels.items(), drawn.flat, strict=False):
            for name, points in sets.items():
                style = _dots(len(points)) | {"color": colours[name], "linestyle": ""}
                panel.plot(*array(points).T, **style)
                legend[name] = Line2D([], [], **style | {"markersize": 9})
            _plane(panel, title, reach)
        if len(names) > 1:
            style = {"loc": "outside upper center", "ncols": len(names)}
            figure.legend(legend.values(), legend, **style)
        return from_figure(figure)


def vector_fields(
    panels: Mapping[str, tuple[Points, Points]],
    *,
    densities: Sequence[Float[Tensor, "m m"]] = (),
    reach: Number = REACH,
) -> Picture:
    """Panels of arrows: places [n 2] and vectors [n 2], over a density where one is given.

    The longest arrow of a panel is a sixth of its width. Row i of a density belongs to x,
    column j to y, both evenly spaced from -reach to reach.
    """
    ends: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": 1.7}
    with axes(len(panels), size=(3.1, 3.3)) as (figure, (row,)):
        for panel, density in zip(row, densities, strict=False):
            ticks = np.linspace(-reach, reach, len(density))
            shown = array(density.T / density.max()) ** 0.5  # faint places show too
            panel.contourf(ticks, ticks, shown, np.linspace(0, 1, 11), **ends)
        for panel, (title, (places, vectors)) in zip(row, panels.items(), strict=True):
            longest = float(vectors.norm(dim=1).max()) or 1.0
            units = {"angles": "xy", "scale_units": "xy", "scale": longest / (reach / 3)}
            style = {"color": COLOURS[0], "width": 0.007, "headwidth": 4.5}
            panel.quiver(*array(places).T, *array(vectors).T, **units, **style)
            _plane(panel, title, reach)
        return from_figure(figure)


def point_paths(
    panels: Mapping[str, Float[Tensor, "n_levels n 2"]], data: Points, *, reach: Number = REACH
) -> Picture:
    """Panels of paths, each from a hollow ring to a dot, over the data in grey."""
    with axes(len(panels), size=(3.1, 3.3)) as (figure, (row,)):
        for panel, (title, paths) in zip(row, panels.items(), strict=True):
            panel.plot(*array(data).T, ".", color=BEHIND, markersize=2)
            lines = zip(paths.unbind(dim=1), cycle(COLOURS[:6]), strict=False)
            for path, colour in lines:
                xs, ys = array(path).T
                panel.plot(xs, ys, color=colour, linewidth=1.0)
                panel.plot(xs[0], ys[0], "o", color=colour, markersize=4, fillstyle="none")
                panel.plot(xs[-1], ys[-1], "o", color=colour, markersize=4)
            _plane(panel, title, reach)
        return from_figure(figure)


def points_film(
    panels: Mapping[str, Sequence[Points]],
    captions: Sequence[str],
    *,
    behind: Points | None = None,
    reach: Number = REACH,
) -> Picture:
    """A film with a frame for each caption: panels of points, over the points `behind`."""
    width = max(len(panels) * (SIDE + GAP) + GAP, text_width(*captions) + 2 * GAP)
    frames = []
    for k, caption in enumerate(captions):
        page = Page(width, HEAD + SIDE + LINE + 6)
        for i, (name, sets) in enumerate(panels.items()):
            left = GAP + i * (SIDE + GAP)
            page.text((left, GAP // 2), name)
            page.rectangle((left, HEAD, left + SIDE - 1, HEAD + SIDE - 1), outline=PALE)
            if behind is not None:
                _dot(page, behind, left, reach, radius=0.8, fill=BEHIND)
            _dot(page, sets[k], left, reach, radius=1.3, fill=COLOURS[0])
        page.text((GAP, HEAD + SIDE + 5), caption, fill=INK)
        frames.append(page.image)
    palette = Image.new("P", (1, 1))  # a film of few colours has half the bytes
    palette.putpalette([value for colour in FILM_COLOURS for value in getrgb(colour)])
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    return animation(small, milliseconds=160)


def _dot(page: Page, points: Points, left: Number, reach: Number, **style: Any) -> None:
    """Points of the plane in the panel of a film; those outside of it are not shown."""
    inside = points[points.abs().amax(dim=1) < 0.98 * reach]
    for x, y in (inside / reach).tolist():
        page.circle((left + (1 + x) * SIDE / 2, HEAD + (1 - y) * SIDE / 2), **style)


def _dots(n: int) -> dict[str, Any]:
    """The markers of n points."""
    if n == 1:
        return {"marker": "*", "markersize": 13, "markeredgecolor": "white"}
    return {"marker": ".", "markersize": 3 if n > MANY else 7, "markeredgewidth": 0}


def _plane(panel: Any, title: str, reach: Number) -> None:
    """Both axes from -reach to reach, with the title above."""
    limits = {"xlim": (-reach, reach), "ylim": (-reach, reach)}
    panel.set(title=title, aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2), **limits)
