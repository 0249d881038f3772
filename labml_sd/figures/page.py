r"""A page to place images and text on, sharp on screens of high resolution.

Maps       images, text, lines in CSS pixels  ->  PIL image, `DENSITY` times as large
Tests      tests/figures/test_page.py
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from labml_sd.figures.picture import DENSITY, INK

FONT_SIZE = 11
PAPER = (255, 255, 255)
FONT_FILE = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")

Number = float | int
Point = tuple[Number, Number]


def font(size: int = FONT_SIZE * DENSITY) -> ImageFont.FreeTypeFont:
    """matplotlib's sans serif, the same in every figure."""
    return ImageFont.truetype(FONT_FILE, size)


class Page:
    """An empty page of `width` x `height` CSS pixels, the unit of all positions and lengths."""

    def __init__(self, width: Number, height: Number) -> None:
        size = (round(width * DENSITY), round(height * DENSITY))
        self.image = Image.new("RGB", size, PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self.pen.font = font()

    @property
    def width(self) -> float:
        """In CSS pixels."""
        return self.image.width / DENSITY

    @property
    def height(self) -> float:
        """In CSS pixels."""
        return self.image.height / DENSITY

    def paste(self, image: "Image.Image | Page", at: Point) -> None:
        """An image, one CSS pixel for each of its pixels, or another page."""
        sharp = image.image if isinstance(image, Page) else enlarged(image, DENSITY)
        self.image.paste(sharp, (round(at[0] * DENSITY), round(at[1] * DENSITY)))

    def text(self, at: Point, text: str, fill: Any = INK, anchor: str = "la") -> None:
        """A line of text."""
        self.pen.text((at[0] * DENSITY, at[1] * DENSITY), text, fill, anchor=anchor)

    def rectangle(self, box: Sequence[Number], **style: Any) -> None:
        """A box from left, top to right, bottom, as PIL draws it: the last pixels included."""
        left, top, right, bottom = _scaled(box)
        wide = style | {"width": round(style.get("width", 1) * DENSITY)}
        self.pen.rectangle((left, top, right + DENSITY - 1, bottom + DENSITY - 1), **wide)

    def line(self, points: Sequence[Number], *, fill: Any, width: Number = 1) -> None:
        """A straight line x0, y0, x1, y1."""
        self.pen.line(_scaled(points), fill=fill, width=round(width * DENSITY))

    def circle(self, centre: Point, radius: Number, *, fill: Any) -> None:
        """A filled circle."""
        self.pen.circle(_scaled(centre), radius * DENSITY, fill=fill)


def _scaled(numbers: Sequence[Number]) -> tuple[Number, ...]:
    return tuple(number * DENSITY for number in numbers)


def text_width(*texts: str) -> int:
    """The width in CSS pixels of the longest of some captions."""
    return int(max(font().getlength(text) for text in texts) / DENSITY) + 1


def enlarged(image: Image.Image, scale: int) -> Image.Image:
    """Each pixel as a square of `scale` x `scale` pixels, without smoothing."""
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
