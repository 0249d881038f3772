r"""The hole of a picture filled with the colours around it, and a larger canvas.

Maps       picture, mask  ->  picture of the same size; picture, sides  ->  picture and mask
Tests      tests/images/test_fill.py
"""

import numpy as np
from PIL import Image

RADII = (256, 64, 16, 4, 1)  # pixels; colours from near replace those from far
ENOUGH = 0.02  # share of kept pixels within a radius, above which its colour is taken


def filled(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture, where the mask is white blurred surroundings; grey mixes both."""
    keep = 1 - np.asarray(mask, np.float64)[..., None] / 255  # [h w 1]
    if not keep.any():
        return picture.copy()
    colours = np.asarray(picture, np.float64)  # [h w 3]
    known = (colours * keep).sum(axis=(0, 1)) / keep.sum()  # the mean of what is kept
    result = np.broadcast_to(known, colours.shape)
    for radius in RADII:
        near = _blurred(keep, radius)
        share = np.clip(near / ENOUGH, 0, 1)
        result = result + share * (_blurred(colours * keep, radius) / (near + 1e-9) - result)
    mixed = keep * colours + (1 - keep) * result
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def _blurred(values: np.ndarray, radius: int) -> np.ndarray:
    """The mean over squares of 2 * radius + 1 pixels; 0 counts beyond the border."""
    side = 2 * radius + 1
    for axis in (0, 1):
        beyond = [(radius + 1, radius) if i == axis else (0, 0) for i in range(values.ndim)]
        sums = np.moveaxis(np.cumsum(np.pad(values, beyond), axis=axis), axis, 0)
        values = np.moveaxis((sums[side:] - sums[:-side]) / side, 0, axis)
    return values


def extended(
    picture: Image.Image, left: int, top: int, right: int, bottom: int
) -> tuple[Image.Image, Image.Image]:
    """The picture on a canvas that is larger by so many pixels, and a mask of what is new.

    The new part has the colours of the border next to it.
    """
    size = (left + picture.width + right, top + picture.height + bottom)
    mask = Image.new("L", size, 255)
    mask.paste(0, (left, top, left + picture.width, top + picture.height))
    pixels = np.asarray(picture)
    canvas = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")
    return filled(Image.fromarray(canvas), mask), mask
