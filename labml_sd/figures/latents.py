r"""The autoencoder: sizes of levels, receptive fields, reconstructions, effect of one cell.

Maps       images [b 3 H W] in [-1, 1], numbers for each level  ->  Picture
Tests      tests/figures/test_latents.py
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from matplotlib import colormaps
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from labml_sd.figures.grids import (
    FONT_SIZE,
    GAP,
    INK,
    PAPER,
    Images,
    enlarged,
    show_images,
    show_rows,
)
from labml_sd.figures.picture import COLOURS, Picture, from_figure, from_image
from labml_sd.figures.plots import axes
from labml_sd.images.tensors import to_pil

GRID = (110, 110, 110)

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right, bottom exclusive


def level_bars(
    names: Sequence[str], measures: Mapping[str, Sequence[float | int]], *, alt: str
) -> Picture:
    """A panel for each measure with a bar for each level and the number at its end."""
    with axes(len(measures), size=(3.1, 0.35 + 0.38 * len(names))) as (figure, panels):
        for (title, values), panel, colour in zip(
            measures.items(), panels.flat, COLOURS, strict=False
        ):
            bars = panel.barh(range(len(names)), values, color=colour, height=0.65)
            panel.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
            panel.set(
                title=title, yticks=range(len(names)), xlim=(0, 1.35 * max(values)), xticks=[]
            )
            panel.set_yticklabels(names if panel is panels.flat[0] else [""] * len(names))
            panel.tick_params(left=False)
            panel.spines["bottom"].set_visible(False)
            panel.grid(visible=False)
            panel.invert_yaxis()
        return from_figure(figure, alt)


def receptive_fields(
    image: Image.Image, boxes: Mapping[str, Box], *, scale: int = 3, alt: str
) -> Picture:
    """Frames on a picture, with a legend of their names and colours at the right."""
    font = ImageFont.load_default(FONT_SIZE)
    large = image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS)
    names_width = int(max(font.getlength(name) for name in boxes)) + 40
    page = Image.new(
        "RGB", (GAP + large.width + GAP + names_width, large.height + 2 * GAP), PAPER
    )
    page.paste(large, (GAP, GAP))
    pen = ImageDraw.Draw(page)
    for k, (name, box) in enumerate(boxes.items()):
        colour = ImageColor.getrgb(COLOURS[k])
        _frame(pen, box, scale, colour)
        x, y = GAP + large.width + GAP, GAP + 24 * k
        pen.rectangle((x, y, x + 16, y + 16), fill=colour)
        pen.text((x + 24, y + 8), name, INK, font, anchor="lm")
    return from_image(page, alt)


def round_trips(
    images: Float[Tensor, "b 3 h w"],
    results: Float[Tensor, "b 3 h w"],
    titles: Sequence[str] = (),
    *,
    limit: float = 0.5,
    alt: str,
) -> Picture:
    """Pictures, their reconstructions, and the error.

    The error is the absolute difference averaged over the colours, from 0 (black) to `limit`.
    """
    results = results.clamp(-1, 1)
    errors = [_heated(e, limit) for e in (results - images).abs().mean(dim=1)]
    rows: dict[str, Images] = {
        "picture": to_pil(images),
        "back": to_pil(results),
        "error": errors,
    }
    return show_rows(rows, titles, alt=alt)


def cell_reach(
    before: Float[Tensor, "3 h w"],
    after: Float[Tensor, "3 h w"],
    cell: tuple[int, int],
    *,
    factor: int = 8,
    around: int = 3,
    scale: int = 5,
    alt: str,
) -> Picture:
    """Two pictures and their difference around one latent cell, `around` cells on each side.

    The patch of `cell` (row, column) is framed; it must be at least `around` cells from the
    border. A grid on the difference shows the cells; its largest value is white.
    """
    top, left = (factor * (index - around) for index in cell)
    side = factor * (2 * around + 1)
    part = (slice(top, top + side), slice(left, left + side))
    change = (after - before).abs().mean(dim=0)[part]
    pictures = to_pil(torch.stack([before[:, *part], after[:, *part]]).clamp(-1, 1))
    cells = [
        enlarged(picture, scale)
        for picture in [*pictures, _heated(change, float(change.max()))]
    ]
    pen = ImageDraw.Draw(cells[-1])
    for line in range(scale * factor, scale * side, scale * factor):
        pen.line((line, 0, line, scale * side), fill=GRID)
        pen.line((0, line, scale * side, line), fill=GRID)
    edges = factor * around, factor * (around + 1)
    for picture in cells:
        _frame(
            ImageDraw.Draw(picture),
            (edges[0], edges[0], edges[1], edges[1]),
            scale,
            PAPER,
            offset=0,
        )
    return show_images(cells, ["before", "after", "what changed"], alt=alt)


def _frame(
    pen: ImageDraw.ImageDraw,
    box: Box,
    scale: int,
    colour: tuple[int, ...],
    *,
    offset: int = GAP,
) -> None:
    """A frame in `colour` between two thin dark ones, which is visible on every picture."""
    left, top, right, bottom = (offset + scale * side for side in box)
    pen.rectangle((left - 1, top - 1, right, bottom), outline=INK, width=5)
    pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=3)


def _heated(values: Float[Tensor, "h w"], limit: float) -> Image.Image:
    unit = (values / (limit or 1.0)).clamp(0, 1).detach().double().cpu().numpy()
    return Image.fromarray(colormaps["inferno"](unit, bytes=True)[..., :3])
