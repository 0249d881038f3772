r"""Latents as colours, random walks, and histograms.

Maps       latents [b c h w], walks [n t], samples [n]  ->  PIL images, Picture
Tests      tests/figures/test_noise.py
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd.figures.page import enlarged
from labml_sd.figures.picture import COLOURS, INK, Picture, from_figure
from labml_sd.figures.plots import array, axes

LIMIT = 3.0  # of the values in a latent's colours
N_DRAWN = 40  # walks that are drawn; the histogram uses all of them
N_POINTS = 250  # of each walk that are drawn, which is enough for the width in pixels


def latent_colours(z: Float[Tensor, "b c h w"], *, scale: int = 8) -> list[Image.Image]:
    """Latents with channels 0, 1, 2 as red, green, blue; further channels are not shown.

    All latents have the same scale from `-LIMIT` (dark) to `LIMIT` (bright). At the scale 8 a
    latent of SD is as large as its picture.
    """
    rgb = ((z[:, :3].detach().float().cpu() + LIMIT) / (2 * LIMIT)).clamp(0, 1)
    pixels = (255 * rgb).round().byte().permute(0, 2, 3, 1).numpy()
    return [enlarged(Image.fromarray(image), scale) for image in pixels]


def random_walks(
    walks: Float[Tensor, "n t"],
    mean: Float[Tensor, " t"],
    std: Float[Tensor, " t"],
    *,
    x: str,
    y: str,
) -> Picture:
    """Walks over time with the band mean +- 2 std; at the right a histogram of their ends.

    The histogram has the normal density of the last mean and std over it.
    """
    paths, middle, spread = array(walks), array(mean), array(std)
    times, stride = np.arange(paths.shape[1]), max(1, paths.shape[1] // N_POINTS)
    band = {"color": COLOURS[1], "alpha": 0.15, "label": "mean ± 2 std"}
    ends = {"bins": 40, "density": True, "orientation": "horizontal", "color": COLOURS[5]}
    with axes(2, size=(4.6, 3.4)) as (figure, ((panel, side),)):
        panel.get_gridspec().set_width_ratios([3, 1])
        side.sharey(panel)
        drawn = paths[:N_DRAWN, ::stride].T
        panel.plot(times[::stride], drawn, color=COLOURS[5], linewidth=0.5, alpha=0.7)
        panel.fill_between(times, middle - 2 * spread, middle + 2 * spread, **band)
        panel.plot(times, middle, color=COLOURS[1], label="mean")
        panel.set(xlabel=x, ylabel=y)
        panel.legend(loc="upper right")
        side.hist(paths[:, -1], **ends)
        values, density = _normal(float(middle[-1]), float(spread[-1]))
        side.plot(density, values, color=COLOURS[1])
        side.set(title=f"where {len(paths):,} walks end", xticks=[])
        return from_figure(figure)


def histograms(
    samples: Mapping[str, Float[Tensor, " n"]],
    *,
    x: str,
    normals: Mapping[str, tuple[float, float]] | None = None,
    line: float | None = None,
    line_label: str = "",
) -> Picture:
    """Overlapping histograms of samples, and the densities of `normals` (name -> mean, std).

    `line` draws a vertical line at this value.
    """
    everything = np.concatenate([array(values) for values in samples.values()])
    bins = np.linspace(everything.min(), everything.max(), 60)
    with axes(size=(6.4, 3.2)) as (figure, ((panel,),)):
        for (name, values), colour in zip(samples.items(), COLOURS, strict=False):
            style = {"density": True, "color": colour, "alpha": 0.55, "label": name}
            panel.hist(array(values), bins=bins, **style)
        for name, (mean, std) in (normals or {}).items():
            values, density = _normal(mean, std)
            panel.plot(values, density, color=INK, linewidth=1.4, linestyle="--", label=name)
        if line is not None:
            panel.axvline(line, color=INK, linewidth=1.2, label=line_label or None)
        panel.set(xlabel=x, yticks=[])
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return from_figure(figure)


def _normal(mean: float, std: float) -> tuple[Any, Any]:
    """Values up to four stds from the mean, and the normal density there."""
    values = np.linspace(mean - 4 * std, mean + 4 * std, 200)
    return values, np.exp(-0.5 * ((values - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
