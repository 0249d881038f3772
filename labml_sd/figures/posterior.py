r"""The autoencoder's posterior in the plane of two channels.

Maps       mean, std [n 2], draws [n k 2]  ->  Picture
Tests      tests/figures/test_posterior.py
"""

from typing import Any

from jaxtyping import Float
from matplotlib.patches import Ellipse, Rectangle
from torch import Tensor

from labml_sd.figures.picture import COLOURS, INK, Picture, from_figure
from labml_sd.figures.plots import axes


def posterior_plane(
    mean: Float[Tensor, "n 2"],
    std: Float[Tensor, "n 2"],
    draws: Float[Tensor, "n k 2"],
    *,
    zoom: int = 0,
    names: tuple[str, str] = ("channel 0", "channel 1"),
    alt: str,
) -> Picture:
    """The posteriors of all cells as ellipses of two stds, and that of cell `zoom` enlarged.

    At the left also the standard normal, and a frame around the part that the right panel
    shows, with draws as dots and ellipses of one and two stds.
    """
    half = 4 * float(std[zoom].max())
    left, bottom = (float(value) - half for value in mean[zoom])
    with axes(2, size=(4.3, 4.0)) as (figure, ((panel, close),)):
        _ellipses(panel, mean, std, n_stds=2.0, color=COLOURS[0])
        panel.add_patch(
            Ellipse((0, 0), 4, 4, fill=False, color=COLOURS[1], linestyle="--", linewidth=1.5)
        )
        panel.annotate(
            "standard normal,\n2 std", (1.45, 1.45), ha="left", va="bottom", color=COLOURS[1]
        )
        panel.add_patch(
            Rectangle((left, bottom), 2 * half, 2 * half, fill=False, color=INK, linewidth=1.2)
        )
        reach = 1.1 * max(2.4, float(mean.abs().max()))
        panel.set(
            xlim=(-reach, reach), ylim=(-reach, reach), title=f"the clouds of {len(mean)} cells"
        )
        dots = draws[zoom].detach().double().cpu()
        close.scatter(dots[:, 0], dots[:, 1], s=4, color=COLOURS[5])
        for n_stds in (1.0, 2.0):
            _ellipses(close, mean, std, n_stds=n_stds, color=COLOURS[0])
        close.set(
            xlim=(left, left + 2 * half),
            ylim=(bottom, bottom + 2 * half),
            title="the framed one, enlarged",
        )
        for one in (panel, close):
            one.set(xlabel=names[0], ylabel=names[1], aspect="equal")
        return from_figure(figure, alt)


def _ellipses(panel: Any, mean: Tensor, std: Tensor, *, n_stds: float, color: str) -> None:
    """Ellipses along the axes: the posterior has no correlations."""
    for (x, y), (width, height) in zip(mean.tolist(), (2 * n_stds * std).tolist(), strict=True):
        panel.add_patch(Ellipse((x, y), width, height, fill=False, color=color, linewidth=1.0))
