r"""Feature maps, maps as sequences of tokens, and the shapes inside a U-Net.

Maps       features [c h w], shapes of blocks  ->  Picture
Tests      tests/figures/test_features.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd.figures.grids import GAP, coloured, show_rows
from labml_sd.figures.page import FONT_SIZE, Page
from labml_sd.figures.picture import COLOURS, Picture, from_figure, from_image
from labml_sd.figures.plots import box, diagram
from labml_sd.images.tensors import to_pil

N_CHANNELS, CELL = 8, 72  # feature maps in a row; height of one in pixels
SIDE, STRIP = 144, 900  # height of a map; width of the longest sequence


def feature_maps(stages: Mapping[str, Float[Tensor, "c h w"]]) -> Picture:
    """A row for each stage: its channels of the largest deviation, each on its own scale.

    Maps of all sizes are enlarged to `CELL` pixels.
    """
    rows: dict[str, list[Image.Image]] = {}
    for name, features in stages.items():
        c, h, w = features.shape
        deviations = features.flatten(1).std(dim=1)
        chosen = features[deviations.topk(min(N_CHANNELS, c)).indices.sort().values]
        maps = [coloured(one, float(one.min()), float(one.max())) for one in chosen]
        rows[f"{name}: {c} maps of {h} x {w}"] = [_scaled(one, CELL) for one in maps]
    return show_rows(rows)


def _scaled(image: Image.Image, height: int) -> Image.Image:
    """Scaled to a height without smoothing."""
    size = (height * image.width // image.height, height)
    return image.resize(size, Image.Resampling.NEAREST)


def map_and_sequence(
    maps: Mapping[str, Float[Tensor, "3 h w"]], sequences: Mapping[str, Float[Tensor, "n 3"]]
) -> Picture:
    """Coloured maps side by side, and below them sequences as strips; values in [-1, 1]."""
    images = {name: _scaled(to_pil(colours[None])[0], SIDE) for name, colours in maps.items()}
    longest = max(map(len, sequences.values()))
    square = max(4, STRIP // longest)
    strip = FONT_SIZE + 2 * square + 2 * GAP
    width = max(longest * square, sum(image.width + 3 * GAP for image in images.values()))
    page = Page(width + 2 * GAP, SIDE + 4 * GAP + len(sequences) * strip)
    left = GAP
    for name, image in images.items():
        page.text((left, 4), name)
        page.paste(image, (left, 2 * GAP))
        left += image.width + 3 * GAP
    for k, (name, tokens) in enumerate(sequences.items()):
        top = SIDE + 3 * GAP + k * strip
        page.text((GAP, top), name)
        (line,) = to_pil(tokens.T[None, :, None])
        line = line.resize((len(tokens) * square, 2 * square), Image.Resampling.NEAREST)
        page.paste(line, (GAP, top + FONT_SIZE + 4))
    return from_image(page.image)


@dataclass(frozen=True)
class Stage:
    """A block of a U-Net: its layers, and the shape [c h w] of its output."""

    layers: Sequence[str]
    shape: tuple[int, int, int]


LAYER_COLOURS = {
    "conv": COLOURS[7],
    "ResBlock": COLOURS[5],
    "transformer": COLOURS[4],
    "down": COLOURS[1],
    "up": COLOURS[2],
}


def unet_shape(down: Sequence[Stage], middle: Stage, up: Sequence[Stage]) -> Picture:
    """The U-Net: blocks as boxes with the output's shape below them, skip connections above.

    Each halving of the size is one level lower. Block i of the up path is on the level of block
    -i of the down path, from which it gets its skip connection.
    """
    stages, n = [*down, middle, *up], len(down)
    sides = [s.shape[1] for s in down]
    levels = sorted(set(sides), reverse=True)
    heights = [-1.5 * levels.index(side) for side in [*sides, sides[-1], *reversed(sides)]]
    size, across = (10.6, 1.5 + 1.1 * len(levels)), (-0.6, len(stages) - 0.4)
    with diagram(size, across, (min(heights) - 0.75, 0.9)) as (figure, panel):
        for x, (stage, y) in enumerate(zip(stages, heights, strict=True)):
            height = 0.5 / len(stage.layers)
            for k, layer in enumerate(stage.layers):
                style = {"facecolor": LAYER_COLOURS[layer], "edgecolor": "#444444"}
                middle_y = y + 0.25 - (k + 0.5) * height
                box(panel, x, middle_y, 0.72, height, rounding=0.05, **style)
            c, h, w = stage.shape
            panel.text(x, y - 0.3, f"{c}\n{h} x {w}", ha="center", va="top", fontsize=8.5)
            if x != n:
                number = {"fontsize": 9, "weight": "bold", "ha": "center", "va": "center"}
                panel.text(x, y, str(x % (n + 1)), **number)
        line = {"arrowstyle": "-|>", "color": "#777777", "lw": 1.1}
        for i in range(n):
            start, end = (i, heights[i] + 0.27), (2 * n - i, heights[i] + 0.27)
            bend = {"connectionstyle": "arc3,rad=-0.07"}
            panel.annotate("", end, start, arrowprops=line | bend)
        used = {layer for stage in stages for layer in stage.layers}
        for name, colour in LAYER_COLOURS.items():
            if name in used:
                panel.scatter(
                    [], [], marker="s", s=90, label=name, color=colour, edgecolor="#444444"
                )
        panel.legend(loc="lower left", ncols=1, fontsize=9)
        return from_figure(figure)
