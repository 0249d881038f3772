r"""The autoencoder's posterior in the plane of two channels.

Maps       mean, std [n 2], draws [n k 2]  ->  Picture
Tests      tests/figures/test_posterior.py
"""

from typing import Any

from jaxtyping import Float
from matplotlib.patches import Ellipse, Rectangle
from torch import Tensor

from labml_sd.figures.picture import COLOURS, INK, Picture, from_figure
from labml_sd.figures.plots import array, axes


def posterior_plane(
    mean: Float[Tensor, "n 2"],
    std: Float[Tensor, "n 2"],
    draws: Float[Tensor, "n k 2"],
    *,
    zoom: int = 0,
    alt: str,
) -> Picture:
    """The posteriors of all cells as ellipses of two stds, and that of cell `zoom` enlarged.

    At the left also the standard normal, and a frame around the part that the right panel
    shows, with draws as dots and ellipses of one and two stds.
    """
    half = 4 * float(std[zoom].max())
    left, bottom = (float(value) - half for value in mean[zoom])
    reach = 1.1 * max(2.4, float(mean.abs().max()))
    dashed: dict[str, Any] = {
        "fill": False,
        "color": COLOURS[1],
        "linestyle": "--",
        "linewidth": 1.5,
    }
    words = {"ha": "left", "va": "bottom", "color": COLOURS[1]}
    frame: dict[str, Any] = {"fill": False, "color": INK, "linewidth": 1.2}
    with axes(2, size=(4.3, 4.0)) as (figure, ((panel, close),)):
        _ellipses(panel, mean, std, n_stds=2.0)
        panel.add_patch(Ellipse((0, 0), 4, 4, **dashed))
        panel.annotate("standard normal,\n2 std", (1.45, 1.45), **words)
        panel.add_patch(Rectangle((left, bottom), 2 * half, 2 * half, **frame))
        panel.set(xlim=(-reach, reach), ylim=(-reach, reach))
        panel.set_title(f"the clouds of {len(mean)} cells")
        close.scatter(*array(draws[zoom]).T, s=4, color=COLOURS[5])
        for n_stds in (1.0, 2.0):
            _ellipses(close, mean, std, n_stds=n_stds)
        close.set(xlim=(left, left + 2 * half), ylim=(bottom, bottom + 2 * half))
        close.set_title("the framed one, enlarged")
        for one in (panel, close):
            one.set(xlabel="channel 0", ylabel="channel 1", aspect="equal")
        return from_figure(figure, alt)


def _ellipses(panel: Any, mean: Tensor, std: Tensor, *, n_stds: float) -> None:
    """Ellipses along the axes: the posterior has no correlations."""
    style: dict[str, Any] = {"fill": False, "color": COLOURS[0], "linewidth": 1.0}
    for (x, y), (width, height) in zip(mean.tolist(), (2 * n_stds * std).tolist(), strict=True):
        panel.add_patch(Ellipse((x, y), width, height, **style))
