r"""Classifier-free guidance: the doubled batch, guided predictions, guided samples.

Maps       latents [b 4 h w], or points and arrows in the plane  ->  Picture
Tests      tests/figures/test_guidance.py
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.patches import Rectangle
from torch import Tensor

from labml_sd.figures.picture import COLOURS, INK, PALE, Picture, from_figure
from labml_sd.figures.plots import array, axes, diagram

WITHOUT, WITH, GUIDED = COLOURS[0], COLOURS[1], COLOURS[2]
RING = 2.448  # sqrt(-2 log 0.05) standard deviations: 95% of a Gaussian in the plane


def doubled_batch(
    x: Float[Tensor, "b c h w"],
    eps_uncond: Float[Tensor, "b c h w"],
    eps_cond: Float[Tensor, "b c h w"],
    eps: Float[Tensor, "b c h w"],
) -> Picture:
    """One network call on twice the batch: x repeated, the two halves of eps, the guided eps.

    Latents are shown by their first channel. The upper half is unconditional, the lower half
    conditional.
    """
    n = len(x)
    limit = max(float(part[:, 0].abs().max()) for part in (x, eps_uncond, eps_cond, eps)) or 1.0
    columns = (
        (x, 0.0, n / 2, "x", PALE),
        (x, 2.4, 0, "cat [x, x]", WITHOUT),
        (x, 2.4, n, "", WITH),
        (eps_uncond, 6.4, 0, "chunk(2)", WITHOUT),
        (eps_cond, 6.4, n, "", WITH),
        (eps, 9.7, n / 2, "guided", GUIDED),
    )
    size = (9.6, 0.72 * (2 * n) + 0.7)
    with diagram(size, (-0.1, 10.7), (2 * n + 0.25, -0.75)) as (figure, panel):
        panel.set_aspect("equal")
        for latents, left, top, title, edge in columns:
            _column(panel, latents, left, top, limit, title, edge)
        named = {"va": "center", "fontsize": 10, "weight": "bold"}
        panel.text(3.45, n / 2, "unconditional", color=WITHOUT, **named)
        panel.text(3.45, n + n / 2, "the prompt", color=WITH, **named)
        panel.add_patch(Rectangle((5.0, 0), 0.85, 2 * n, facecolor="#F3F1EC", edgecolor=INK))
        centred = {"ha": "center", "va": "center"}
        panel.text(5.42, n, "one U-Net call", rotation=90, fontsize=10, **centred)
        panel.text(8.5, n, "eps_u +\ns (eps_c - eps_u)", fontsize=9.5, **centred)
        return from_figure(figure)


def _column(
    panel: Any,
    latents: Float[Tensor, "b c h w"],
    left: float,
    top: float | int,
    limit: float,
    title: str,
    edge: str,
) -> None:
    """Framed latents in a column."""
    for k, latent in enumerate(latents):
        y = top + k
        area = (left, left + 0.92, y + 0.96, y + 0.04)
        panel.imshow(array(latent[0]), extent=area, cmap="RdBu_r", vmin=-limit, vmax=limit)
        frame: dict[str, Any] = {"fill": False, "edgecolor": edge, "linewidth": 2.2}
        panel.add_patch(Rectangle((left, y + 0.04), 0.92, 0.92, **frame))
    panel.text(left + 0.46, top - 0.15, title, ha="center", va="bottom", fontsize=10)


def guidance_arrows(
    points: Float[Tensor, "n 2"],
    without: Float[Tensor, "n 2"],
    with_words: Float[Tensor, "n 2"],
    scale: float | int,
    modes: Mapping[str, Float[Tensor, "k 3"]],
) -> Picture:
    """At each point three arrows: the unconditional, conditional and guided prediction.

    The tips of all three are on the dotted line.
    """
    guided = without + scale * (with_words - without)
    arrows = {
        "unconditional": (without, WITHOUT),
        "with the word A": (with_words, WITH),
        f"guided, scale {scale:g}": (guided, GUIDED),
    }
    units = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "inches", "width": 0.03}
    dotted = {"color": PALE, "linestyle": ":", "linewidth": 1.2, "zorder": 0}
    with axes(size=(7.0, 4.6)) as (figure, ((panel,),)):
        _modes(panel, modes)
        for name, (tips, colour) in arrows.items():
            panel.quiver(*array(points).T, *array(tips).T, **units, color=colour, label=name)
        for line in zip(array(points + without), array(points + guided), strict=True):
            panel.plot(*np.stack(line).T, **dotted)
        panel.plot(*array(points).T, "o", color="black", markersize=4)
        panel.set(aspect="equal", xlabel="first number of z", ylabel="second number of z")
        panel.autoscale_view()
        figure.legend(loc="outside upper center", ncols=3)
        return from_figure(figure)


def guided_samples(
    samples: Mapping[str, Float[Tensor, "n 2"]], modes: Mapping[str, Float[Tensor, "k 3"]]
) -> Picture:
    """Samples in the plane, one panel a set, with rings around the modes of the data.

    A row of `modes` is a Gaussian: x, y, standard deviation. Its ring contains 95% of it.
    """
    blobs = np.concatenate([array(blobs) for blobs in modes.values()])
    centres, reach = blobs[:, :2], RING * blobs[:, 2:]
    shown = [array(points) for points in samples.values()]
    everything = np.concatenate([*shown, centres - reach, centres + reach])
    x, y = zip(everything.min(axis=0) - 0.1, everything.max(axis=0) + 0.1, strict=True)
    with axes(len(samples), size=(9.9 / len(samples), 2.9)) as (figure, (panels,)):
        for title, points, panel in zip(samples, shown, panels, strict=True):
            _modes(panel, modes)
            panel.plot(*points.T, ".", color=GUIDED, markersize=3, alpha=0.5)
            panel.set(title=title, aspect="equal", xlim=x, ylim=y)
        return from_figure(figure)


def _modes(panel: Any, modes: Mapping[str, Float[Tensor, "k 3"]]) -> None:
    """The Gaussians of each class (x, y, standard deviation) as rings with the class's name."""
    turn = np.linspace(0, 2 * np.pi, 100)
    for name, blobs in modes.items():
        for x, y, std in blobs.tolist():
            xs, ys = x + RING * std * np.cos(turn), y + RING * std * np.sin(turn)
            panel.plot(xs, ys, color=INK, linewidth=1.2, zorder=3)
            font = {"fontsize": 14, "weight": "bold", "color": INK, "zorder": 4}
            panel.text(x, y, name, ha="center", va="center", **font)
