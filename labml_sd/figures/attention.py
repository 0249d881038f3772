r"""Attention weights as tables of numbers, and as an overlay on a picture.

Maps       weights [n m], or maps [k h w] over a picture  ->  Picture
Tests      tests/figures/test_attention.py
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from labml_sd.figures.grids import captioned_grid
from labml_sd.figures.picture import Picture, from_figure, from_image
from labml_sd.figures.plots import array, axes

GLOW, FRAME = (255, 176, 0), (255, 255, 255)
DIMMED = 0.7  # brightness of the grey picture below the overlay


def weight_tables(
    tables: Mapping[str, Float[Tensor, "n m"]], rows: Sequence[str], columns: Sequence[str]
) -> Picture:
    """Small matrices with the number in each cell and the sum of each row at the right."""
    with axes(len(tables), size=(4.4, 2.3)) as (figure, (panels,)):
        for (title, table), panel in zip(tables.items(), panels, strict=True):
            panel.imshow(array(table), cmap="cividis", vmin=0, aspect="auto")
            panel.set_title(title)
            panel.set_xticks(range(len(columns)), columns)
            panel.set_yticks(range(len(rows)), rows)
            panel.grid(visible=False)
            top = float(table.max())
            for i, values in enumerate(table.tolist()):
                for j, value in enumerate(values):
                    ink = "black" if value > 0.6 * top else "white"
                    panel.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink)
                panel.text(
                    len(values) - 0.4, i, f"sum {sum(values):.2f}", ha="left", va="center"
                )
        return from_figure(figure)


def attention_overlay(
    image: Image.Image,
    maps: Float[Tensor, "k h w"],
    titles: Sequence[str] = (),
    *,
    marked: Sequence[tuple[int, int]] = (),
    columns: int = 0,
    scale: int = 1,
) -> Picture:
    """The picture, and for each map the grey picture with the map over it, amber where highest.

    Each map has its own scale, from its lowest to its highest value. `marked` frames one cell
    (row, column) in each of them: the position of the query.
    """
    large = image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS)
    cells = [large.convert("RGB"), *(_overlay(large, m) for m in maps)]
    for cell, (row, column) in zip(cells[1:], marked, strict=False):
        _frame(cell, row, column, maps.shape[-2:])
    captions = ["the image", *titles] if titles else [""] * len(cells)
    return from_image(captioned_grid(cells, captions, columns=columns))


def _overlay(image: Image.Image, values: Float[Tensor, "h w"]) -> Image.Image:
    """The map is interpolated, since squares of 16 pixels would hide the picture."""
    span = float(values.max() - values.min()) or 1.0
    unit = ((values - values.min()) / span).detach().float().cpu()
    size = (image.height, image.width)
    fine = F.interpolate(unit[None, None], size=size, mode="bicubic")[0, 0]
    light = Image.fromarray((fine.clamp(0, 1) * 0.85 * 255).byte().numpy())
    grey = image.convert("L").point(lambda value: value * DIMMED).convert("RGB")
    return Image.composite(Image.new("RGB", image.size, GLOW), grey, light)


def _frame(image: Image.Image, row: int, column: int, shape: Sequence[int]) -> None:
    height, width = image.height / shape[0], image.width / shape[1]
    corners = (column * width, row * height, (column + 1) * width, (row + 1) * height)
    pen = ImageDraw.Draw(image)
    pen.rectangle(corners, outline=(0, 0, 0), width=4)
    pen.rectangle(corners, outline=FRAME, width=2)
