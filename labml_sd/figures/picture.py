r"""The result of every figure: a PNG with an alternative text.

Maps       matplotlib figure or PIL images  ->  Picture
Tests      tests/figures/test_general.py
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

DPI = 90
HOLD = 1200  # milliseconds of the last frame of an animation

STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "image.cmap": "viridis",
}

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
)  # fmt: skip
INK, PALE = "#222222", "#8A8A8A"  # of frames and text; of secondary lines


@dataclass(frozen=True)
class Picture:
    """A PNG, possibly animated, which a notebook displays; `alt` describes it in words."""

    png: bytes = field(repr=False)
    alt: str

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        """Size and description, for output without pictures."""
        with Image.open(io.BytesIO(self.png)) as image:
            return f"<{image.width} x {image.height} picture: {self.alt}>"

    def save(self, path: str | Path) -> None:
        """Write the PNG."""
        Path(path).write_bytes(self.png)


def from_figure(figure: Any, alt: str) -> Picture:
    """A matplotlib figure. The same figure gives the same bytes: without date and version."""
    buffer = io.BytesIO()
    style = {"format": "png", "dpi": DPI, "bbox_inches": "tight"}
    figure.savefig(buffer, **style, metadata={"Software": None})
    return Picture(buffer.getvalue(), alt)


def from_image(image: Image.Image, alt: str) -> Picture:
    """A PIL image."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return Picture(buffer.getvalue(), alt)


def saved_picture(path: str | Path, *, alt: str) -> Picture:
    """A picture from a PNG file, pixel by pixel."""
    with Image.open(path) as image:
        return from_image(image, alt)


def animation(frames: Sequence[Image.Image], alt: str, *, milliseconds: int = 120) -> Picture:
    """An animated PNG in an endless loop; the last frame is shown for `HOLD` milliseconds."""
    buffer = io.BytesIO()
    first, *rest = frames
    times = [milliseconds] * len(rest) + [HOLD]
    first.save(buffer, format="PNG", save_all=True, append_images=rest, duration=times, loop=0)
    return Picture(buffer.getvalue(), alt)
