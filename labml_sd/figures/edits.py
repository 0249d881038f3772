r"""Figures of generation and editing: model sizes, steps, strengths, masks.

Maps       parameter counts, PIL images, levels, masks  ->  Picture
Tests      tests/figures/test_edits.py
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from labml_sd.figures.grids import FONT_SIZE, GAP, INK, PAPER, enlarged
from labml_sd.figures.picture import COLOURS, Picture, animation, from_figure, from_image
from labml_sd.figures.plots import axes
from labml_sd.sampler import Level, tail

LINE = FONT_SIZE + 6
HEAD = GAP // 2 + LINE
ORANGE, GREY, WHITE, BLACK = (230, 159, 0), (150, 150, 150), (255, 255, 255), (0, 0, 0)

Marked = npt.NDArray[np.bool_]


def parts_chart(counts: Mapping[str, int], *, alt: str) -> Picture:
    """A bar for each part of a model, with its number of parameters."""
    with axes(size=(7.4, 0.6 + 0.42 * len(counts))) as (figure, ((panel,),)):
        bars = panel.barh(
            list(counts), list(counts.values()), color=COLOURS[: len(counts)], height=0.6
        )
        panel.bar_label(bars, [f"{n / 1e6:.2f} M" for n in counts.values()], padding=4)
        panel.invert_yaxis()
        panel.grid(visible=False)
        panel.set(xticks=[], xlim=(0, 1.15 * max(counts.values())))
        panel.spines["bottom"].set_visible(False)
        return from_figure(figure, alt)


def strength_chart(
    levels: Sequence[Level], strengths: Sequence[float | int], *, alt: str
) -> Picture:
    """A row for each strength with all steps of a whole run; the steps that are run are filled.

    At the right the number of steps, the time t of the first, and the share of the picture that
    is left there.
    """
    n = len(levels) - 1
    with axes(size=(10.2, 0.8 + 0.34 * len(strengths))) as (figure, ((panel,),)):
        for row, strength in enumerate(strengths):
            run = tail(levels, strength)
            for k in range(n):
                filled = k > n - len(run)
                colour = COLOURS[0] if filled else "white"
                corner, line = (k + 0.08, row - 0.36), "#999999"
                box = Rectangle(corner, 0.84, 0.72, facecolor=colour, edgecolor=line)
                panel.add_patch(box)
            panel.text(n + 0.6, row, _start(run), va="center", fontsize=9.5)
        panel.set(xlim=(-0.2, 1.62 * n), ylim=(len(strengths) - 0.4, -0.6), ylabel="strength")
        panel.set_yticks(range(len(strengths)), [f"{strength:g}" for strength in strengths])
        shown = range(0, n, max(1, n // 5))
        panel.set_xticks([k + 0.5 for k in shown], [f"t = {levels[k].t:.0f}" for k in shown])
        panel.grid(visible=False)
        panel.spines[["bottom", "left"]].set_visible(False)
        panel.tick_params(length=0)
        return from_figure(figure, alt)


def _start(run: Sequence[Level]) -> str:
    """The text beside a row."""
    n = len(run) - 1
    if n == 0:
        return "no step: all of the picture is left"
    left = f"{run[0].alpha_bar ** 0.5:.3f} of the picture is left"
    return f"{n} step{'s' if n > 1 else ''} from t = {run[0].t:.0f}, {left}"


def show_sizes(
    images: Sequence[Image.Image],
    titles: Sequence[str],
    *,
    alt: str,
    width: int = 960,
    scale: int = 1,
) -> Picture:
    """Pictures of different sizes, enlarged by `scale`, in rows of at most `width` pixels.

    Each has its title above it, on one line.
    """
    font = ImageFont.load_default(FONT_SIZE)
    placed: list[tuple[Image.Image, str, int, int]] = []
    left, top, tallest = GAP, GAP, 0
    for image, title in zip(images, titles, strict=True):
        large = enlarged(image, scale)
        cell = max(large.width, int(font.getlength(title)) + 1)
        if left > GAP and left + cell + GAP > width:
            left, top, tallest = GAP, top + tallest + LINE + GAP, 0
        placed.append((large, title, left, top))
        left, tallest = left + cell + 2 * GAP, max(tallest, large.height)
    ends = [
        (x + max(im.width, int(font.getlength(t)) + 1), y + LINE + im.height)
        for im, t, x, y in placed
    ]
    page = Image.new(
        "RGB", (max(x for x, _ in ends) + GAP, max(y for _, y in ends) + GAP), PAPER
    )
    pen = ImageDraw.Draw(page)
    for image, title, x, y in placed:
        pen.text((x, y), title, INK, font)
        page.paste(image, (x, y + LINE))
    return from_image(page, alt)


def step_animation(
    columns: Mapping[str, Sequence[Image.Image]],
    captions: Sequence[str],
    *,
    alt: str,
    scale: int = 2,
    milliseconds: int = 200,
) -> Picture:
    """Pictures side by side, one frame a step: names above them, the step's caption below."""
    font = ImageFont.load_default(FONT_SIZE)
    frames = []
    for k, caption in enumerate(captions):
        shown = [row[k] for row in columns.values()]
        width, height = shown[0].width * scale, shown[0].height * scale
        page = Image.new(
            "RGB", (len(shown) * (width + GAP) + GAP, HEAD + height + LINE + 4), PAPER
        )
        pen = ImageDraw.Draw(page)
        for i, (name, image) in enumerate(zip(columns, shown, strict=True)):
            x = GAP + i * (width + GAP)
            pen.text((x, GAP // 2), name, INK, font)
            page.paste(image.resize((width, height), Image.Resampling.NEAREST), (x, HEAD))
        pen.text((GAP, HEAD + height + 4), caption, INK, font)
        frames.append(page)
    return animation(frames, alt, milliseconds=milliseconds)


def mask_outline(picture: Image.Image, mask: Image.Image, *, scale: int = 1) -> Image.Image:
    """The enlarged picture with a line around the masked area: white inside, black outside."""
    return _with_line(enlarged(picture.convert("RGB"), scale), mask, scale)


def mask_cells(
    picture: Image.Image,
    mask: Image.Image,
    cells: Float[Tensor, "1 1 h w"],
    *,
    scale: int = 3,
    alt: str,
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
    return from_image(_with_line(page, mask, scale), alt)


def _with_line(page: Image.Image, mask: Image.Image, scale: int) -> Image.Image:
    inside = np.kron(np.asarray(mask.convert("L")) > 0, np.ones((scale, scale), bool))
    pixels = np.array(page)
    pixels[_grown(inside) & ~inside] = BLACK
    pixels[_grown(~inside) & inside] = WHITE
    return Image.fromarray(pixels)


def _grown(area: Marked) -> Marked:
    """The area and all direct neighbours of its pixels."""
    wide = np.pad(area, 1)
    grown: Marked = (
        wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
    )
    return grown
