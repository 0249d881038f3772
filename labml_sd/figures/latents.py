r"""The autoencoder: posteriors, receptive fields, reconstructions, the effect of one cell.

Maps       mean, std [n 2], images [b 3 H W] in [-1, 1], boxes by name  ->  Picture
Tests      tests/figures/test_latents.py
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.patches import Ellipse, Rectangle
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from labml_sd.figures.grids import GAP, coloured, show_images, show_rows
from labml_sd.figures.page import PAPER, Page, enlarged, text_width
from labml_sd.figures.picture import COLOURS, INK, Picture, from_figure, from_image
from labml_sd.figures.plots import array, axes
from labml_sd.images.tensors import to_pil

GRID = (110, 110, 110)
ENLARGED = 3  # scale of a picture with receptive fields
LARGEST_ERROR = 0.5  # of a reconstruction, shown in the brightest colour
FACTOR, AROUND, SCALE = 8, 3, 5  # pixels of a cell; cells beside it; scale of its surroundings

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right, bottom exclusive


def posterior_plane(
    mean: Float[Tensor, "n 2"],
    std: Float[Tensor, "n 2"],
    draws: Float[Tensor, "n k 2"],
    *,
    zoom: int = 0,
) -> Picture:
    """The posteriors of all cells as ellipses of two stds, and that of cell `zoom` enlarged.

    At the left also the standard normal, and a frame around the part that the right panel
    shows, with draws as dots and ellipses of one and two stds.
    """
    half = 4 * float(std[zoom].max())
    left, bottom = (float(value) - half for value in mean[zoom])
    reach = 1.1 * max(2.4, float(mean.abs().max()))
    dashed: dict[str, Any] = {"fill": False, "color": COLOURS[1], "ls": "--", "lw": 1.5}
    words = {"ha": "left", "va": "bottom", "color": COLOURS[1]}
    frame: dict[str, Any] = {"fill": False, "color": INK, "linewidth": 1.2}
    with axes(2, size=(4.3, 4.0)) as (figure, ((panel, close),)):
        _ellipses(panel, mean, std, n_stds=2.0)
        panel.add_patch(Ellipse((0, 0), 4, 4, **dashed))
        panel.annotate("standard normal,\n2 std", (1.45, 1.45), **words)
        panel.add_patch(Rectangle((left, bottom), 2 * half, 2 * half, **frame))
        panel.set(xlim=(-reach, reach), ylim=(-reach, reach))
        panel.set_title(f"posteriors of {len(mean)} positions")
        close.scatter(*array(draws[zoom]).T, s=4, color=COLOURS[5])
        for n_stds in (1.0, 2.0):
            _ellipses(close, mean, std, n_stds=n_stds)
        close.set(xlim=(left, left + 2 * half), ylim=(bottom, bottom + 2 * half))
        close.set_title("the framed one, with samples")
        for one in (panel, close):
            one.set(xlabel="channel 0", ylabel="channel 1", aspect="equal")
        return from_figure(figure)


def _ellipses(panel: Any, mean: Tensor, std: Tensor, *, n_stds: float) -> None:
    """Ellipses along the axes: the posterior has no correlations."""
    style: dict[str, Any] = {"fill": False, "color": COLOURS[0], "linewidth": 1.0}
    for (x, y), (width, height) in zip(mean.tolist(), (2 * n_stds * std).tolist(), strict=True):
        panel.add_patch(Ellipse((x, y), width, height, **style))


def receptive_fields(image: Image.Image, boxes: Mapping[str, Box]) -> Picture:
    """Frames on a picture, with a legend of their names and colours at the right."""
    size = (image.width * ENLARGED, image.height * ENLARGED)
    page = Page(size[0] + 2 * GAP + text_width(*boxes) + 40, size[1] + 2 * GAP)
    large = image.resize(size, Image.Resampling.LANCZOS)
    for k, (name, box) in enumerate(boxes.items()):
        colour = ImageColor.getrgb(COLOURS[k])
        _frame(ImageDraw.Draw(large), [ENLARGED * side for side in box], colour)
        x, y = 2 * GAP + size[0], GAP + 24 * k
        page.rectangle((x, y, x + 16, y + 16), fill=colour)
        page.text((x + 24, y + 8), name, anchor="lm")
    page.paste(large, (GAP, GAP))
    return from_image(page.image)


def round_trips(
    images: Float[Tensor, "b 3 h w"],
    results: Float[Tensor, "b 3 h w"],
    titles: Sequence[str] = (),
) -> Picture:
    """Pictures, their reconstructions, and the error.

    The error is the absolute difference averaged over the colours, black for 0.
    """
    results = results.clamp(-1, 1)
    errors = (results - images).abs().mean(dim=1)
    rows = {
        "image": to_pil(images),
        "reconstruction": to_pil(results),
        "error": [coloured(error, 0.0, LARGEST_ERROR, "inferno") for error in errors],
    }
    return show_rows(rows, titles)


def cell_reach(
    before: Float[Tensor, "3 h w"], after: Float[Tensor, "3 h w"], cell: tuple[int, int]
) -> Picture:
    """Two pictures and their difference around one latent cell, `AROUND` cells on each side.

    The patch of `cell` (row, column) is framed; it must be at least `AROUND` cells from the
    border. A grid on the difference shows the cells; its largest value is white.
    """
    top, left = (FACTOR * (index - AROUND) for index in cell)
    side, step = FACTOR * (2 * AROUND + 1), FACTOR * SCALE
    part = (slice(top, top + side), slice(left, left + side))
    change = (after - before).abs().mean(dim=0)[part]
    pictures = to_pil(torch.stack([before[:, *part], after[:, *part]]).clamp(-1, 1))
    pictures.append(coloured(change, 0.0, float(change.max()), "inferno"))
    cells = [enlarged(picture, SCALE) for picture in pictures]
    pen = ImageDraw.Draw(cells[-1])
    for line in range(step, SCALE * side, step):
        pen.line((line, 0, line, SCALE * side), fill=GRID)
        pen.line((0, line, SCALE * side, line), fill=GRID)
    for picture in cells:
        first, last = step * AROUND, step * (AROUND + 1)
        _frame(ImageDraw.Draw(picture), [first, first, last, last], PAPER)
    return show_images(cells, ["before", "after", "what changed"])


def _frame(pen: ImageDraw.ImageDraw, box: Sequence[int], colour: tuple[int, ...]) -> None:
    """A frame in `colour` between two thin dark ones, which is visible on every picture."""
    left, top, right, bottom = box
    pen.rectangle((left - 1, top - 1, right, bottom), outline=INK, width=5)
    pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=3)
