r"""Figures of editing: strengths and masks.

Maps       levels, masks, PIL images  ->  Picture
Tests      tests/figures/test_edits.py
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw
from torch import Tensor

from labml_sd.figures.page import enlarged
from labml_sd.figures.picture import COLOURS, Picture, from_figure, from_image
from labml_sd.figures.plots import axes, bare
from labml_sd.sampler import Level, tail

ORANGE, GREY, WHITE, BLACK = (230, 159, 0), (150, 150, 150), (255, 255, 255), (0, 0, 0)

Marked = npt.NDArray[np.bool_]


def strength_chart(levels: Sequence[Level], strengths: Sequence[float | int]) -> Picture:
    """A row for each strength with all steps of a whole run; the steps that are run are filled.

    At the right the number of steps, the time t of the first, and the share of the picture that
    is left there.
    """
    n = len(levels) - 1
    with axes(size=(10.2, 0.8 + 0.34 * len(strengths))) as (figure, ((panel,),)):
        for row, strength in enumerate(strengths):
            run = tail(levels, strength)
            for k in range(n):
                colour = COLOURS[0] if k > n - len(run) else "white"
                box = Rectangle((k + 0.08, row - 0.36), 0.84, 0.72, fc=colour, ec="#999999")
                panel.add_patch(box)
            panel.text(n + 0.6, row, _start(run), va="center", fontsize=9.5)
        panel.set(xlim=(-0.2, 1.62 * n), ylim=(len(strengths) - 0.4, -0.6), ylabel="strength")
        panel.set_yticks(range(len(strengths)), [f"{strength:g}" for strength in strengths])
        shown = range(0, n, max(1, n // 5))
        panel.set_xticks([k + 0.5 for k in shown], [f"t = {levels[k].t:.0f}" for k in shown])
        bare(panel)
        return from_figure(figure)


def _start(run: Sequence[Level]) -> str:
    """The text beside a row."""
    n = len(run) - 1
    if n == 0:
        return "no step: all of the picture is left"
    left = f"{run[0].alpha_bar ** 0.5:.3f} of the picture is left"
    return f"{n} step{'s' if n > 1 else ''} from t = {run[0].t:.0f}, {left}"


def mask_outline(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with a line around the masked area: white inside, black outside."""
    inside = np.asarray(mask.convert("L")) > 0
    pixels = np.array(picture.convert("RGB"))
    pixels[_grown(inside) & ~inside] = BLACK
    pixels[_grown(~inside) & inside] = WHITE
    return Image.fromarray(pixels)


def mask_cells(
    picture: Image.Image,
    mask: Image.Image,
    cells: Float[Tensor, "1 1 h w"],
    *,
    scale: int = 3,
) -> Picture:
    """The cells over the picture, masked ones in orange, and the mask's outline."""
    page = enlarged(picture.convert("RGB"), scale)
    side = page.height // cells.shape[-2]
    marked = np.kron(cells[0, 0].cpu().numpy() > 0, np.ones((side, side), bool))
    tinted = Image.blend(page, Image.new("RGB", page.size, ORANGE), 0.55)
    page = Image.composite(tinted, page, Image.fromarray(marked))
    pen = ImageDraw.Draw(page)
    for k in range(0, max(page.size), side):
        pen.line([(k, 0), (k, page.height)], GREY)
        pen.line([(0, k), (page.width, k)], GREY)
    outlined = mask_outline(page, enlarged(mask, scale))
    return from_image(outlined, density=1)


def _grown(area: Marked) -> Marked:
    """The area and all direct neighbours of its pixels."""
    wide = np.pad(area, 1)
    grown: Marked = (
        wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    )
    return grown
