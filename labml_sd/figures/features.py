r"""Feature maps, maps as sequences of tokens, and the shapes inside a U-Net.

Maps       features [c h w], shapes of blocks  ->  Picture
Tests      tests/figures/test_features.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.patches import FancyBboxPatch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from labml_sd.figures.grids import FONT_SIZE, GAP, INK, PAPER, Images, show_rows
from labml_sd.figures.picture import COLOURS, Picture, from_figure, from_image
from labml_sd.figures.plots import axes
from labml_sd.images.tensors import to_pil


def feature_maps(
    stages: Mapping[str, Float[Tensor, "c h w"]],
    *,
    n_channels: int = 8,
    cell: int = 72,
    alt: str,
) -> Picture:
    """A row for each stage: the `n_channels` channels of the largest deviation, each scaled.

    Maps of all sizes are enlarged to `cell` pixels.
    """
    rows: dict[str, Images] = {}
    for name, features in stages.items():
        c, h, w = features.shape
        deviations = features.flatten(1).std(dim=1)
        chosen = deviations.topk(min(n_channels, c)).indices.sort().values
        rows[f"{name}: {c} maps of {h} x {w}"] = [_coloured(features[i], cell) for i in chosen]
    return show_rows(rows, alt=alt)


def _coloured(values: Float[Tensor, "h w"], cell: int) -> Image.Image:
    span = float(values.max() - values.min()) or 1.0
    unit = ((values - values.min()) / span).detach().double().cpu().numpy()
    colours = Image.fromarray(colormaps["viridis"](unit, bytes=True)[..., :3])
    return colours.resize(
        (cell * values.shape[1] // values.shape[0], cell), Image.Resampling.NEAREST
    )


def map_and_sequence(
    maps: Mapping[str, Float[Tensor, "3 h w"]],
    sequences: Mapping[str, Float[Tensor, "n 3"]],
    *,
    alt: str,
) -> Picture:
    """Coloured maps side by side, and below them sequences as strips; values in [-1, 1]."""
    font, side = ImageFont.load_default(FONT_SIZE), 144
    square = max(4, 900 // max(len(s) for s in sequences.values()))
    widths = [side * colours.shape[2] // colours.shape[1] for colours in maps.values()]
    width = max(
        max(len(s) for s in sequences.values()) * square, sum(widths) + 3 * GAP * len(widths)
    )
    strip = FONT_SIZE + 2 * square + 2 * GAP
    page = Image.new("RGB", (width + 2 * GAP, side + 4 * GAP + len(sequences) * strip), PAPER)
    pen = ImageDraw.Draw(page)
    left = GAP
    for (name, colours), wide in zip(maps.items(), widths, strict=True):
        pen.text((left, 4), name, INK, font)
        page.paste(
            to_pil(colours[None])[0].resize((wide, side), Image.Resampling.NEAREST),
            (left, 2 * GAP),
        )
        left += wide + 3 * GAP
    for k, (name, tokens) in enumerate(sequences.items()):
        top = side + 3 * GAP + k * strip
        pen.text((GAP, top), name, INK, font)
        line = to_pil(tokens.T[None, :, None])[0]
        line = line.resize((len(tokens) * square, 2 * square), Image.Resampling.NEAREST)
        page.paste(line, (GAP, top + FONT_SIZE + 4))
    return from_image(page, alt)


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


def unet_shape(
    down: Sequence[Stage], middle: Stage, up: Sequence[Stage], *, alt: str, skips: bool = True
) -> Picture:
    """The U-Net: blocks as boxes with the output's shape below them, skip connections above.

    Each halving of the size is one level lower. Block i of the up path is on the level of block
    -i of the down path, from which it gets its skip connection.
    """
    stages, n = [*down, middle, *up], len(down)
    sides = [s.shape[1] for s in down]
    levels = sorted(set(sides), reverse=True)
    heights = [-1.5 * levels.index(side) for side in [*sides, sides[-1], *reversed(sides)]]
    with axes(size=(10.6, 1.5 + 1.1 * len(levels))) as (figure, ((panel,),)):
        panel.set(xlim=(-0.6, len(stages) - 0.4), ylim=(min(heights) - 0.75, 0.9))
        panel.set_axis_off()
        for x, (stage, y) in enumerate(zip(stages, heights, strict=True)):
            _block(panel, x, y, stage)
            if x != n:
                panel.text(
                    x, y, str(x % (n + 1)), ha="center", va="center", fontsize=9, weight="bold"
                )
        for i in range(n) if skips else ():
            _skip(panel, i, 2 * n - i, heights[i])
        used = {layer for stage in stages for layer in stage.layers}
        for name in (name for name in LAYER_COLOURS if name in used):
            style = {"color": LAYER_COLOURS[name], "edgecolor": "#444444"}
            panel.scatter([], [], marker="s", s=90, label=name, **style)
        panel.legend(loc="lower left", ncols=1, fontsize=9)
        return from_figure(figure, alt)


def _block(panel: Any, x: int, y: float, stage: Stage) -> None:
    height = 0.5 / len(stage.layers)
    for k, layer in enumerate(stage.layers):
        box = FancyBboxPatch(
            (x - 0.36, y + 0.25 - (k + 1) * height), 0.72, height,
            "round,pad=0,rounding_size=0.05",
            facecolor=LAYER_COLOURS[layer], edgecolor="#444444",
        )  # fmt: skip
        panel.add_patch(box)
    c, h, w = stage.shape
    panel.text(x, y - 0.3, f"{c}\n{h} x {w}", ha="center", va="top", fontsize=8.5)


def _skip(panel: Any, start: int, end: int, y: float) -> None:
    line: dict[str, Any] = {"arrowstyle": "-|>", "color": "#777777", "lw": 1.1}
    bend = {"connectionstyle": "arc3,rad=-0.07"}
    panel.annotate("", (end, y + 0.27), (start, y + 0.27), arrowprops=line | bend)
