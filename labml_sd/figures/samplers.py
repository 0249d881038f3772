r"""Samplers: paths through the noisy density, errors by cost, levels, distances.

Maps       paths, errors, levels, matrices  ->  Picture
Tests      tests/figures/test_samplers.py
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from labml_sd.figures.picture import COLOURS, Picture, from_figure
from labml_sd.figures.plots import axes
from labml_sd.sampler import Level

Paths = Float[Tensor, "_ n_levels"]
MARKERS = "osD^vP"


def sampling_paths(
    panels: Mapping[str, Paths],
    t: Sequence[float | int],
    *,
    density: Float[Tensor, "n_places n_levels"],
    places: Float[Tensor, " n_places"],
    alt: str,
) -> Picture:
    """Paths of numbers from noise (left) to data (right), over the density at every level.

    Every panel has its own paths [n_paths n_levels]. Column i of paths and density belongs to
    time t[i], row j of the density to the value places[j]. Each column of the density is
    divided by its maximum.
    """
    with axes(len(panels), size=(4.6, 3.6)) as (figure, (row,)):
        shade = (density / density.amax(dim=0)).numpy()
        for panel, (title, paths) in zip(row, panels.items(), strict=True):
            panel.pcolormesh(
                t, places.numpy(), shade, cmap="Greys", vmin=0, vmax=1.6, shading="nearest"
            )
            for k, path in enumerate(paths):
                panel.plot(
                    t, path.numpy(), color=COLOURS[k % len(COLOURS)], linewidth=1.1, alpha=0.9
                )
            panel.set(title=title, xlabel="time t", ylim=(float(places[0]), float(places[-1])))
            panel.set_xlim(max(t), min(t))
            panel.grid(visible=False)
        row[0].set_ylabel("x")
        return from_figure(figure, alt)


def error_lines(
    errors: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    slopes: Mapping[str, float],
    *,
    alt: str,
) -> Picture:
    """Error by number of network evaluations, on log axes, with the slopes in the legend."""
    with axes(size=(6.2, 4.0)) as (figure, ((panel,),)):
        for (name, (counts, values)), colour, marker in zip(
            errors.items(), COLOURS, MARKERS, strict=False
        ):
            label = f"{name}: slope {slopes[name]:.1f}"
            panel.plot(counts, values, color=colour, marker=marker, markersize=5, label=label)
        panel.set(
            xscale="log", yscale="log", xlabel="network evaluations", ylabel="largest error"
        )
        ticks = sorted({count for counts, _ in errors.values() for count in counts})
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.legend()
        return from_figure(figure, alt)


def level_rows(lists: Mapping[str, Sequence[Level]], *, alt: str) -> Picture:
    """A row of marks for each list of levels: by time at the left, by log sigma at the right.

    Levels without noise are omitted.
    """
    with axes(2, size=(4.7, 0.55 + 0.42 * len(lists))) as (figure, (row,)):
        for panel, (name, label) in zip(row, _SCALES, strict=True):
            for k, levels in enumerate(lists.values()):
                values = [getattr(level, name) for level in levels if level.sigma > 0]
                style = {"color": COLOURS[k], "markersize": 14, "markeredgewidth": 2}
                panel.plot(values, [k] * len(values), "|", **style)
            panel.set_yticks(range(len(lists)), list(lists))
            panel.set(xlabel=label, ylim=(len(lists) - 0.5, -0.5))
        row[1].set_xscale("log")
        row[1].set_xticks([0.03, 0.1, 0.3, 1, 3, 10], ["0.03", "0.1", "0.3", "1", "3", "10"])
        for panel in row:
            panel.minorticks_off()
            panel.invert_xaxis()
        row[1].set_yticklabels([])
        return from_figure(figure, alt)


_SCALES = (
    ("t", "time t: noisy at the left, clean at the right"),
    ("sigma", "sigma, on a log axis"),
)


def distance_map(names: Sequence[str], distances: Float[Tensor, "n n"], *, alt: str) -> Picture:
    """A matrix of pairwise distances with names on both axes; dark is close."""
    with axes(size=(6.6, 5.6)) as (figure, ((panel,),)):
        shown: Any = panel.imshow(distances.double().numpy(), vmin=0, interpolation="nearest")
        panel.set_xticks(
            np.arange(len(names)), names, rotation=60, ha="right", rotation_mode="anchor"
        )
        panel.set_yticks(np.arange(len(names)), names)
        panel.grid(visible=False)
        figure.colorbar(shown, ax=panel, shrink=0.8, label="distance (root mean square)")
        return from_figure(figure, alt)
