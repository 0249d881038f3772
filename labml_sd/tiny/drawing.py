r"""Draws a scene with Pillow: flat shapes on soft gradients, at twice the size, then averaged.

Maps       Scene  ->  RGB picture, size x size pixels
Tests      tests/tiny/test_drawing.py
"""

import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from labml_sd.tiny.objects import RGB, WHITE, draw_object, mix, oval, times
from labml_sd.tiny.scenes import PLACES, Ground, Scene, SceneObject, Sky

_WIDTH = {"small": 0.22, "large": 0.36}
_COLUMN = {"left": 0.21, "middle": 0.5, "right": 0.79}

_SKY_STOPS: dict[Sky, tuple[RGB, RGB, RGB]] = {
    "day": ((84, 168, 240), (150, 208, 250), (216, 240, 253)),
    "sunset": ((98, 66, 142), (236, 112, 108), (255, 205, 128)),
    "night": ((14, 18, 54), (28, 36, 84), (62, 72, 128)),
}
_GROUND_STOPS: dict[Ground, tuple[RGB, RGB]] = {
    "grass": ((138, 200, 92), (92, 164, 66)),
    "beach": ((242, 222, 170), (226, 194, 130)),
    "snow": ((244, 248, 253), (214, 226, 242)),
    "sea": ((92, 182, 212), (30, 112, 170)),
}
_IN_LIGHT_OF = {
    "day": (1.0, 1.0, 1.0),
    "sunset": (0.97, 0.84, 0.80),
    "night": (0.47, 0.52, 0.68),
}
_SAND_AT_NIGHT = (0.62, 0.55, 0.60)  # less blue than the rest, or sand would look grey

_SUN, _EVENING_SUN = (255, 224, 92), (255, 236, 150)
_MOON, _STAR, _CLOUD = (250, 244, 214), (236, 238, 255), (240, 248, 254)


def draw_scene(scene: Scene, size: int = 128) -> Image.Image:
    """The picture of a scene, RGB, `size` x `size` pixels. A pure function of its arguments.

    It is drawn at 2 * size and reduced by averaging 2 x 2 pixels, which smooths the edges.
    """
    rng = random.Random(scene.jitter)
    side = 2 * size
    horizon = round(side * (0.60 + rng.uniform(-0.03, 0.03)))
    picture = _sky(scene.sky, side).copy()
    light_x = _draw_heavens(picture, scene, rng)
    _draw_ground(picture, scene, horizon, light_x, rng)
    # Small objects are further back, so they are drawn first.
    for item in sorted(scene.objects, key=lambda item: _WIDTH[item.size]):
        _place_object(picture, scene, item, rng)
    return picture.reduce(2)


def changed_box(before: Scene, after: Scene, size: int = 128) -> tuple[int, int, int, int]:
    """The box around all pixels in which two scenes differ: left, top, right, bottom.

    Right and bottom are the first pixels beyond it. Raises ValueError if no pixel differs.
    """
    pictures = (draw_scene(scene, size) for scene in (before, after))
    box = ImageChops.difference(*pictures).getbbox()
    if box is None:
        raise ValueError("the scenes look the same: give two that differ in an object")
    return box


def _bottom(item: SceneObject) -> float:
    """Where an object stands, from 0 at the top to 1: higher up if further back."""
    return (0.87 if item.size == "large" else 0.79) - (0.30 if item.kind == "balloon" else 0.0)


def _gradient(width: int, height: int, stops: tuple[RGB, ...]) -> Image.Image:
    at = np.linspace(0.0, 1.0, height)
    where = np.linspace(0.0, 1.0, len(stops))
    channels = zip(*stops, strict=True)
    column = np.stack([np.interp(at, where, channel) for channel in channels], axis=-1)
    rows = np.broadcast_to(column.round().astype(np.uint8)[:, None], (height, width, 3))
    return Image.fromarray(np.ascontiguousarray(rows))


@lru_cache(maxsize=16)
def _sky(sky: Sky, side: int) -> Image.Image:
    """The sky, down to below the lowest horizon. Cached: copy it before drawing on it."""
    picture = Image.new("RGB", (side, side))
    picture.paste(_gradient(side, round(side * 0.64), _SKY_STOPS[sky]))
    return picture


def _ground_colours(ground: Ground, sky: Sky) -> tuple[RGB, RGB]:
    """The ground's colours at the horizon and at the lower edge."""
    factor = _SAND_AT_NIGHT if (ground, sky) == ("beach", "night") else _IN_LIGHT_OF[sky]
    top, bottom = _GROUND_STOPS[ground]
    return times(top, factor), times(bottom, factor)


@lru_cache(maxsize=256)
def _ground(ground: Ground, sky: Sky, width: int, height: int) -> Image.Image:
    return _gradient(width, height, _ground_colours(ground, sky))


@lru_cache(maxsize=16)
def _glow(radius: int, strength: float) -> Image.Image:
    """A mask that fades from `strength` in the centre to 0 at `radius`."""
    axis = np.linspace(-1.0, 1.0, 2 * radius)
    distance = np.hypot(axis[:, None], axis[None, :])
    fade = np.clip(1.0 - distance, 0.0, 1.0) ** 1.5
    return Image.fromarray((255 * strength * fade).round().astype(np.uint8))


@lru_cache(maxsize=16)
def _crescent(radius: int) -> Image.Image:
    """A disc with a bite out of its right side, as a mask."""
    mask = Image.new("L", (2 * radius, 2 * radius))
    pen = ImageDraw.Draw(mask)
    pen.ellipse((0, 0, 2 * radius - 1, 2 * radius - 1), fill=255)
    bite = 0.72 * radius
    pen.ellipse((bite, -0.28 * radius, bite + 1.8 * radius, 1.52 * radius), fill=0)
    return mask


def _draw_heavens(picture: Image.Image, scene: Scene, rng: random.Random) -> float | None:
    """Draw stars or a cloud, and the sun or moon in a column without an object.

    Returns the x of the sun or moon in pixels, or None without one.
    """
    side = picture.width
    taken = {item.place for item in scene.objects}
    place = rng.choice([place for place in PLACES if place not in taken] or list(PLACES))
    x = side * (_COLUMN[place] + rng.uniform(-0.03, 0.03))
    y = side * ((0.40 if scene.sky == "sunset" else 0.17) + rng.uniform(-0.03, 0.03))
    if scene.sky == "night":
        _draw_stars(picture, rng)
    if scene.sky == "day":
        balloons = {item.place for item in scene.objects if item.kind == "balloon"}
        clear = [other for other in PLACES if other != place and other not in balloons]
        _draw_cloud(picture, rng.choice(clear or list(PLACES)), rng)
    if scene.light is None:
        return None
    _draw_light(picture, scene, x, y)
    return x


def _draw_light(picture: Image.Image, scene: Scene, x: float, y: float) -> None:
    """The sun or the moon, with a glow around it."""
    moon, low = scene.light == "moon", scene.sky == "sunset"
    colour = _MOON if moon else _EVENING_SUN if low else _SUN
    radius = round(picture.width * (0.095 if low else 0.085))
    halo = round(2.6 * radius)
    haze = (170, 180, 230) if moon else mix(colour, WHITE, 0.3)
    picture.paste(haze, (round(x) - halo, round(y) - halo), _glow(halo, 0.35 if moon else 0.75))
    if moon:
        picture.paste(colour, (round(x) - radius, round(y) - radius), _crescent(radius))
    else:
        oval(ImageDraw.Draw(picture), (x, y), radius, radius, colour)


def _draw_stars(picture: Image.Image, rng: random.Random) -> None:
    """One star in each cell of a 3 x 5 grid, so that stars never cluster."""
    pen, side = ImageDraw.Draw(picture), picture.width
    for row in range(3):
        for column in range(5):
            x = side * (column + rng.uniform(0.15, 0.85)) / 5
            y = side * (0.02 + 0.16 * (row + rng.uniform(0.1, 0.9)))
            r = side * rng.choice((0.006, 0.009))
            oval(pen, (x, y), r, r, mix(_STAR, _SKY_STOPS["night"][1], 0.2 * row))


def _draw_cloud(picture: Image.Image, place: str, rng: random.Random) -> None:
    pen, side = ImageDraw.Draw(picture), picture.width
    x = _COLUMN[place] + rng.uniform(-0.04, 0.04)
    y = 0.16 + rng.uniform(-0.05, 0.05)
    for dx, dy, r in (
        (-0.085, 0.012, 0.036),
        (-0.03, -0.015, 0.052),
        (0.035, -0.005, 0.045),
        (0.085, 0.015, 0.033),
    ):
        oval(pen, (side * (x + dx), side * (y + dy)), side * r, side * r * 0.8, _CLOUD)


def _draw_ground(
    picture: Image.Image, scene: Scene, horizon: int, light_x: float | None, rng: random.Random
) -> None:
    """The ground with its details.

    Grass and snow have a hill behind them, grass has tufts, the beach has water behind it, the
    sea has waves and reflects the sun or moon at `light_x`.
    """
    side = picture.width
    top, bottom = _ground_colours(scene.ground, scene.sky)
    if scene.ground in ("grass", "snow"):
        haze = mix(top, _SKY_STOPS[scene.sky][2], 0.35)
        _draw_hill(picture, horizon, haze if scene.ground == "grass" else times(top, 0.94), rng)
    picture.paste(_ground(scene.ground, scene.sky, side, side - horizon), (0, horizon))
    if scene.ground == "grass":
        _draw_tufts(picture, horizon, times(bottom, 0.84), rng)
    if scene.ground == "beach":
        _draw_shore(picture, horizon, _IN_LIGHT_OF[scene.sky])
    if scene.ground == "sea":
        _draw_waves(picture, horizon, mix(top, WHITE, 0.4), rng)
        if light_x is not None:
            glitter = mix(top, _MOON if scene.light == "moon" else _SUN, 0.65)
            for half, y in ((0.085, 0.015), (0.06, 0.05), (0.04, 0.085), (0.022, 0.12)):
                _draw_stroke(picture, light_x, horizon + side * y, side * half, glitter)


def _draw_hill(picture: Image.Image, horizon: int, colour: RGB, rng: random.Random) -> None:
    side = picture.width
    x, shift = rng.choice((0.2, 0.5, 0.8)), rng.uniform(-0.05, 0.05)
    left, right = side * (x + shift - 0.5), side * (x + shift + 0.5)
    box = (left, horizon - side * 0.06, right, horizon + side * 0.2)
    ImageDraw.Draw(picture).ellipse(box, fill=colour)


def _draw_shore(picture: Image.Image, horizon: int, factor: tuple[float, float, float]) -> None:
    pen, side = ImageDraw.Draw(picture), picture.width
    water, foam = times((70, 160, 205), factor), times((246, 250, 250), factor)
    pen.rectangle((0, horizon, side, horizon + side * 0.065), fill=water)
    pen.rectangle((0, horizon + side * 0.05, side, horizon + side * 0.068), fill=foam)


def _draw_stroke(picture: Image.Image, x: float, y: float, half: float, colour: RGB) -> None:
    """A horizontal line, thick enough to survive the autoencoder."""
    width = round(picture.width * 0.016)
    ImageDraw.Draw(picture).line((x - half, y, x + half, y), fill=colour, width=width)


def _draw_waves(picture: Image.Image, horizon: int, colour: RGB, rng: random.Random) -> None:
    side = picture.width
    for row, y in enumerate((0.09, 0.19, 0.31)):
        for column in range(2):
            shift = 0.12 if row % 2 else -0.12
            x = side * (0.25 + 0.5 * column + shift + rng.uniform(-0.04, 0.04))
            _draw_stroke(picture, x, horizon + side * y, side * (0.05 + 0.015 * row), colour)


def _draw_tufts(picture: Image.Image, horizon: int, colour: RGB, rng: random.Random) -> None:
    pen, side = ImageDraw.Draw(picture), picture.width
    blades = ((-1.0, 0.0), (-0.6, -1.3), (0.0, -0.3), (0.6, -1.3), (1.0, 0.0))
    for x, y in ((0.1, 0.1), (0.62, 0.08), (0.36, 0.31), (0.9, 0.27)):
        u, v, r = side * (x + rng.uniform(-0.04, 0.04)), horizon + side * y, side * 0.03
        pen.polygon([(u + dx * r, v + dy * r) for dx, dy in blades], fill=colour)


def _place_object(
    picture: Image.Image, scene: Scene, item: SceneObject, rng: random.Random
) -> None:
    """Draw one object and what is under it: a shadow, or the water at a boat's hull."""
    pen, side = ImageDraw.Draw(picture), picture.width
    width = _WIDTH[item.size] * side
    x = (_COLUMN[item.place] + rng.uniform(-0.015, 0.015)) * side
    y = (_bottom(item) + rng.uniform(-0.02, 0.02)) * side
    top, bottom = _ground_colours(scene.ground, scene.sky)
    if item.kind == "boat":
        oval(pen, (x, y), 0.5 * width, 0.06 * width, mix(top, WHITE, 0.4))
    elif item.kind != "balloon":
        oval(pen, (x, y), 0.54 * width, 0.09 * width, times(mix(top, bottom, 0.5), 0.74))
    draw_object(pen, item, scene.sky, (x, y), width, side)
