r"""The result of every figure: a PNG that a notebook displays.

Maps       matplotlib figure or PIL images  ->  Picture
Tests      tests/figures/test_general.py
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

DPI = 160
DENSITY = 2  # pixels of a PNG drawn by PIL for each CSS pixel
CSS_PER_INCH = 90  # of the size at which figures of matplotlib are displayed
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
    """A PNG, possibly animated, which a notebook displays `width` CSS pixels wide.

    What it shows is described in the metadata of the notebook's cell, not here.
    """

    png: bytes = field(repr=False)
    width: int

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.png, {"width": self.width}

    def __repr__(self) -> str:
        """Its size in pixels, for output without pictures."""
        with Image.open(io.BytesIO(self.png)) as image:
            return f"<{image.width} x {image.height} picture>"

    def save(self, path: str | Path) -> None:
        """Write the PNG."""
        Path(path).write_bytes(self.png)


def from_figure(figure: Any) -> Picture:
    """A matplotlib figure. The same figure gives the same bytes: without date and version."""
    buffer = io.BytesIO()
    style = {"format": "png", "dpi": DPI, "bbox_inches": "tight"}
    figure.savefig(buffer, **style, metadata={"Software": None})
    with Image.open(buffer) as image:
        return Picture(buffer.getvalue(), round(image.width * CSS_PER_INCH / DPI))


def from_image(image: Image.Image, *, density: int = DENSITY) -> Picture:
    """A PIL image of `density` pixels for each CSS pixel."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return Picture(buffer.getvalue(), image.width // density)


def saved_picture(path: str | Path) -> Picture:
    """A picture from a PNG file, one CSS pixel for each of its pixels."""
    with Image.open(path) as image:
        return from_image(image, density=1)


def animation(frames: Sequence[Image.Image], *, milliseconds: int = 120) -> Picture:
    """An animated PNG in an endless loop; the last frame is shown for `HOLD` milliseconds."""
    buffer = io.BytesIO()
    first, *rest = frames
    times = [milliseconds] * len(rest) + [HOLD]
    first.save(buffer, format="PNG", save_all=True, append_images=rest, duration=times, loop=0)
    return Picture(buffer.getvalue(), first.width // DENSITY)
