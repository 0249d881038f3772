r"""Draws the objects of a scene: flat shapes with one dark outline, in the light of the sky.

Maps       SceneObject, sky, position in pixels  ->  shapes on a Pillow canvas
Tests      tests/tiny/test_drawing.py
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from PIL import ImageDraw

from labml_sd.tiny.scenes import Colour, Kind, SceneObject, Sky

RGB = tuple[int, int, int]
Point = tuple[float, float]
Shape = tuple[Point, ...]

COLOUR_RGB: dict[Colour, RGB] = {
    "red": (220, 40, 45),
    "orange": (250, 135, 25),
    "yellow": (255, 218, 45),
    "green": (28, 140, 62),
    "blue": (40, 80, 220),
    "purple": (150, 60, 190),
    "white": (248, 248, 250),
    "black": (38, 38, 46),
}
WHITE: RGB = (255, 255, 255)
_BROWN, _DARK, _LIT, _PANE = (128, 84, 52), (44, 42, 50), (255, 226, 120), (214, 238, 250)
_BLACK_EDGE = (126, 128, 146)
_IN_LIGHT_OF = {
    "day": (1.0, 1.0, 1.0),
    "sunset": (1.0, 0.94, 0.92),
    "night": (0.86, 0.85, 0.90),
}
# Width of an outline as a share of the picture's side. The autoencoder has 8 x 8 pixels to a
# latent cell, and loses lines thinner than this.
_EDGE = 0.014


def times(colour: RGB, factor: float | tuple[float, float, float]) -> RGB:
    """A colour times a brightness, one for all channels or one for each."""
    r, g, b = (factor,) * 3 if isinstance(factor, float) else factor
    return (round(colour[0] * r), round(colour[1] * g), round(colour[2] * b))


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """Linear interpolation from `a` (share 0) to `b` (share 1)."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return (red, green, blue)


def oval(
    pen: ImageDraw.ImageDraw, middle: Point, rx: float | int, ry: float | int, fill: RGB
) -> None:
    """An ellipse in pixels."""
    x, y = middle
    pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=fill)


class Paint(NamedTuple):
    """The colours of one object: its fill, a darker and a lighter variant, and its outline."""

    fill: RGB
    shade: RGB
    tint: RGB
    edge: RGB
    sky: Sky

    @classmethod
    def of(cls, colour: Colour, sky: Sky) -> "Paint":
        """The colours for an object colour under a sky.

        White has a grey outline, visible on snow; black has a light one, visible at night.
        """
        fill = times(COLOUR_RGB[colour], _IN_LIGHT_OF[sky])
        if colour == "black":
            return cls(fill, mix(fill, WHITE, 0.10), mix(fill, WHITE, 0.18), _BLACK_EDGE, sky)
        shade = times(fill, 0.84 if colour == "white" else 0.72)
        return cls(fill, shade, mix(fill, WHITE, 0.22), times(fill, 0.55), sky)

    def lit(self, colour: RGB) -> RGB:
        """A fixed colour (wood, glass) in the light of this sky."""
        return times(colour, _IN_LIGHT_OF[self.sky])


@dataclass(frozen=True)
class Brush:
    """Draws in object units: origin at the foot (x, y), u to the right, v upwards, width 1.

    `grow` widens a shape by that many pixels. An outline is the same shape drawn first, wider
    and darker.
    """

    pen: ImageDraw.ImageDraw
    x: float
    y: float
    width: float
    edge: float

    def at(self, point: Point) -> Point:
        """Object units to pixels."""
        return (self.x + point[0] * self.width, self.y - point[1] * self.width)

    def oval(
        self, u: float, v: float, ru: float, rv: float, fill: RGB, grow: float = 0.0
    ) -> None:
        """An ellipse around (u, v)."""
        rx, ry = ru * self.width + grow, rv * self.width + grow
        oval(self.pen, self.at((u, v)), rx, ry, fill)

    def area(self, corners: Shape, fill: RGB, grow: float = 0.0) -> None:
        """A polygon."""
        pixels = [self.at(corner) for corner in corners]
        self.pen.polygon(pixels, fill=fill)
        if grow:
            self.path((*corners, corners[0]), 0.0, fill, grow)

    def path(self, points: Shape, thick: float, fill: RGB, grow: float = 0.0) -> None:
        """A line with round joints and ends."""
        pixels = [self.at(point) for point in points]
        r = thick * self.width / 2 + grow
        self.pen.line(pixels, fill=fill, width=round(2 * r))
        for pixel in pixels:
            oval(self.pen, pixel, r, r, fill)

    def areas(self, paint: Paint, *shapes: tuple[Shape, RGB]) -> None:
        """Polygons with one outline around their union."""
        for corners, _ in shapes:
            self.area(corners, paint.edge, self.edge)
        for corners, fill in shapes:
            self.area(corners, fill)


def draw_object(
    pen: ImageDraw.ImageDraw, item: SceneObject, sky: Sky, foot: Point, width: float, side: int
) -> None:
    """Draw an object `width` pixels wide on a picture of `side` pixels.

    `foot` is the pixel in the middle of its lower edge.
    """
    _DRAW[item.kind](Brush(pen, *foot, width, _EDGE * side), Paint.of(item.colour, sky))


def _box(u0: float, v0: float, u1: float, v1: float) -> Shape:
    return ((u0, v0), (u1, v0), (u1, v1), (u0, v1))


def _house(brush: Brush, paint: Paint) -> None:
    brush.areas(
        paint,
        (_box(0.18, 0.60, 0.32, 0.98), paint.shade),
        (_box(-0.42, 0.0, 0.42, 0.56), paint.fill),
        (((-0.5, 0.52), (0.0, 0.96), (0.5, 0.52)), paint.shade),
    )
    brush.area(_box(-0.28, 0.0, -0.06, 0.36), paint.lit(_BROWN))
    brush.area(_box(0.08, 0.16, 0.32, 0.40), _LIT if paint.sky == "night" else _PANE)


def _tree(brush: Brush, paint: Paint) -> None:
    brush.area(((-0.10, 0.0), (0.10, 0.0), (0.07, 0.5), (-0.07, 0.5)), paint.lit(_BROWN))
    sides = ((-0.25, 0.56, 0.22), (0.25, 0.56, 0.22), (0.0, 0.58, 0.26))
    top = ((-0.12, 0.82, 0.24), (0.14, 0.80, 0.23), (0.0, 0.92, 0.22))
    for fill, grow in ((paint.edge, brush.edge), (paint.fill, 0.0)):
        for u, v, r in sides + top:
            brush.oval(u, v, r, r, fill, grow)
    brush.oval(-0.12, 0.90, 0.13, 0.10, paint.tint)
    brush.oval(0.20, 0.56, 0.14, 0.08, paint.shade)


def _boat(brush: Brush, paint: Paint) -> None:
    brush.area(_box(-0.025, 0.2, 0.025, 1.02), paint.lit(_BROWN), brush.edge * 0.4)
    brush.areas(
        paint,
        (((0.07, 0.36), (0.07, 0.98), (0.46, 0.36)), paint.tint),
        (((-0.08, 0.36), (-0.08, 0.84), (-0.36, 0.36)), paint.tint),
        (((-0.5, 0.26), (0.5, 0.26), (0.34, 0.0), (-0.32, 0.0)), paint.fill),
    )
    brush.area(((-0.38, 0.09), (0.40, 0.09), (0.34, 0.0), (-0.32, 0.0)), paint.shade)


def _car(brush: Brush, paint: Paint) -> None:
    body = ((-0.5, 0.12), (0.5, 0.12), (0.5, 0.30), (0.42, 0.37), (-0.44, 0.37), (-0.5, 0.30))
    cabin = ((-0.34, 0.36), (-0.24, 0.62), (0.14, 0.62), (0.30, 0.36))
    brush.areas(paint, (cabin, paint.fill), (body, paint.fill))
    brush.area(_box(-0.5, 0.12, 0.5, 0.19), paint.shade)
    brush.area(((-0.25, 0.38), (-0.18, 0.54), (-0.07, 0.54), (-0.07, 0.38)), paint.lit(_PANE))
    brush.area(((0.0, 0.38), (0.0, 0.54), (0.10, 0.54), (0.20, 0.38)), paint.lit(_PANE))
    brush.oval(0.45, 0.28, 0.05, 0.05, _LIT)
    for u in (-0.27, 0.27):
        brush.oval(u, 0.11, 0.13, 0.13, _DARK)
        brush.oval(u, 0.11, 0.055, 0.055, paint.lit((200, 202, 208)))


def _balloon(brush: Brush, paint: Paint) -> None:
    for u in (-1, 1):
        brush.path(((0.24 * u, 0.45), (0.10 * u, 0.16)), 0.035, paint.lit(times(_BROWN, 0.7)))
    brush.area(_box(-0.13, 0.0, 0.13, 0.19), paint.lit(_BROWN))
    skirt = ((-0.40, 0.68), (0.40, 0.68), (0.17, 0.36), (-0.17, 0.36))
    for fill, grow in ((paint.edge, brush.edge), (paint.fill, 0.0)):
        brush.area(skirt, fill, grow)
        brush.oval(0.0, 0.84, 0.46, 0.46, fill, grow)
    brush.oval(0.0, 0.83, 0.19, 0.45, paint.shade)
    brush.area(((-0.17, 0.68), (0.17, 0.68), (0.07, 0.37), (-0.07, 0.37)), paint.shade)
    brush.oval(-0.28, 1.0, 0.07, 0.12, paint.tint)


def _cat(brush: Brush, paint: Paint) -> None:
    tail = ((0.12, 0.10), (0.36, 0.10), (0.44, 0.22), (0.42, 0.42))
    ears = (
        ((-0.38, 0.82), (-0.36, 1.16), (-0.10, 1.0)),
        ((0.18, 0.82), (0.16, 1.16), (-0.10, 1.0)),
    )
    for fill, grow in ((paint.edge, brush.edge), (paint.fill, 0.0)):
        brush.path(tail, 0.12, fill, grow)
        brush.oval(-0.10, 0.33, 0.29, 0.35, fill, grow)
        for corners in (_box(-0.36, 0.0, 0.16, 0.2), *ears):
            brush.area(corners, fill, grow)
        brush.oval(-0.10, 0.78, 0.30, 0.25, fill, grow)
    brush.oval(-0.10, 0.28, 0.14, 0.20, paint.tint)
    for u in (-0.22, 0.02):
        brush.oval(u, 0.82, 0.07, 0.08, (214, 240, 120))
        brush.oval(u, 0.82, 0.032, 0.065, _DARK)
    brush.oval(-0.10, 0.69, 0.045, 0.035, paint.lit((240, 130, 140)))


_DRAW: dict[Kind, Callable[[Brush, Paint], None]] = {
    "house": _house,
    "tree": _tree,
    "boat": _boat,
    "car": _car,
    "balloon": _balloon,
    "cat": _cat,
}
