r"""Samplers: predictions, paths through the noisy density, errors by cost, levels, distances.

Maps       points, paths, errors, levels, matrices  ->  Picture
Tests      tests/figures/test_samplers.py
"""

from collections.abc import Mapping, Sequence
from itertools import cycle

from jaxtyping import Float
from torch import Tensor

from labml_sd.figures.picture import COLOURS, Picture, from_figure
from labml_sd.figures.plots import array, arrow, axes
from labml_sd.sampler import Level

Paths = Float[Tensor, "_ n_levels"]
Points = Float[Tensor, "_ 2"]
MARKERS = "osD^vP"


def eps_arrows(
    data: Float[Tensor, "k 2"], panels: Mapping[str, tuple[Points, Points, Points]]
) -> Picture:
    """Data as stars; a panel has noisy points: x, x minus its noise, predicted x0, each [n 2].

    A blue arrow removes the noise; an orange dotted line continues to the predicted x0, a ring.
    """
    everything = [data, *(points for panel in panels.values() for points in panel)]
    reach = 1.1 * max(float(points.abs().max()) for points in everything)
    limits = {"xlim": (-reach, reach), "ylim": (-reach, reach)}
    rings = {"s": 34, "facecolors": "none", "edgecolors": COLOURS[1], "zorder": 3}
    with axes(len(panels), size=(3.5, 3.6)) as (figure, (row,)):
        for panel, (title, points) in zip(row, panels.items(), strict=True):
            for start, middle, end in zip(*(p.tolist() for p in points), strict=True):
                arrow(panel, start, middle, color=COLOURS[0], linewidth=1.1)
                rest = zip(middle, end, strict=True)
                panel.plot(*rest, color=COLOURS[1], linewidth=1.1, linestyle=":")
                panel.plot(*start, marker=".", color=COLOURS[0])
            panel.scatter(*array(points[2]).T, **rings)
            panel.scatter(*array(data).T, s=90, marker="*", color=COLOURS[6], zorder=4)
            panel.set(title=title, aspect="equal", **limits)
        return from_figure(figure)


def sampling_paths(
    panels: Mapping[str, Paths],
    t: Sequence[float | int],
    *,
    density: Float[Tensor, "n_places n_levels"],
    places: Float[Tensor, " n_places"],
) -> Picture:
    """Paths of numbers from noise (left) to data (right), over the density at every level.

    Every panel has its own paths [n_paths n_levels]. Column i of paths and density belongs to
    time t[i], row j of the density to the value places[j]. Each column of the density is
    divided by its maximum.
    """
    shade = array(density / density.amax(dim=0))
    greys = {"cmap": "Greys", "vmin": 0, "vmax": 1.6, "shading": "nearest"}
    limits = {"xlim": (max(t), min(t)), "ylim": (float(places[0]), float(places[-1]))}
    with axes(len(panels), size=(4.6, 3.6)) as (figure, (row,)):
        for panel, (title, paths) in zip(row, panels.items(), strict=True):
            panel.pcolormesh(t, array(places), shade, **greys)
            for path, colour in zip(paths, cycle(COLOURS), strict=False):
                panel.plot(t, array(path), color=colour, linewidth=1.1, alpha=0.9)
            panel.set(title=title, xlabel="time t", **limits)
            panel.grid(visible=False)
        row[0].set_ylabel("x")
        return from_figure(figure)


def error_lines(
    errors: Mapping[str, tuple[Sequence[int], Sequence[float]]], slopes: Mapping[str, float]
) -> Picture:
    """Error by number of network evaluations, on log axes, with the slopes in the legend."""
    with axes(size=(6.2, 4.0)) as (figure, ((panel,),)):
        for k, (name, (counts, values)) in enumerate(errors.items()):
            style = {"color": COLOURS[k], "marker": MARKERS[k], "markersize": 5}
            panel.plot(counts, values, **style, label=f"{name}: slope {slopes[name]:.1f}")
        panel.set(xscale="log", yscale="log")
        panel.set(xlabel="network evaluations", ylabel="largest error")
        ticks = sorted({count for counts, _ in errors.values() for count in counts})
        panel.set_xticks(ticks, [str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.legend()
        return from_figure(figure)


def level_rows(lists: Mapping[str, Sequence[Level]]) -> Picture:
    """A row of marks for each list of levels: by time at the left, by log sigma at the right.

    Levels without noise are omitted.
    """
    size = (4.7, 0.55 + 0.42 * len(lists))
    with axes(2, size=size) as (figure, ((by_time, by_sigma),)):
        for panel, name in ((by_time, "t"), (by_sigma, "sigma")):
            for k, levels in enumerate(lists.values()):
                values = [getattr(level, name) for level in levels if level.sigma > 0]
                style = {"color": COLOURS[k], "markersize": 14, "markeredgewidth": 2}
                panel.plot(values, [k] * len(values), "|", **style)
            panel.set_ylim(len(lists) - 0.5, -0.5)
        by_sigma.set_xscale("log")
        by_sigma.set_xticks([0.03, 0.1, 0.3, 1, 3, 10], ["0.03", "0.1", "0.3", "1", "3", "10"])
        by_time.set_xlabel("time t: noisy at the left, clean at the right")
        by_sigma.set_xlabel("sigma, on a log axis")
        for panel, names in ((by_time, list(lists)), (by_sigma, [""] * len(lists))):
            panel.set_yticks(range(len(lists)), names)
            panel.minorticks_off()
            panel.invert_xaxis()
        return from_figure(figure)


def distance_map(names: Sequence[str], distances: Float[Tensor, "n n"]) -> Picture:
    """A matrix of pairwise distances with names on both axes; dark is close."""
    slanted = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"}
    with axes(size=(6.6, 5.6)) as (figure, ((panel,),)):
        shown = panel.imshow(array(distances), vmin=0, interpolation="nearest")
        panel.set_xticks(range(len(names)), names, **slanted)
        panel.set_yticks(range(len(names)), names)
        panel.grid(visible=False)
        figure.colorbar(shown, ax=panel, shrink=0.8, label="distance (root mean square)")
        return from_figure(figure)
