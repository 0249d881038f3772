r"""Read a mask: what of it says where to paint.

Maps       a path or a PIL image -> 8-bit grey: white is painted again, black is kept
Tests      tests/images/test_masks.py
"""

import warnings

import numpy as np
from PIL import Image

from labml_sd.errors import ImageError
from labml_sd.images.reading import PathLike, on_white, open_layers

_ONE_COLOUR = 48  # levels that a colour may vary: lossy formats change it at the edges


def load_mask(source: PathLike | Image.Image, size: tuple[int, int]) -> Image.Image:
    """Open a mask as 8-bit grey. White is repainted, black is kept, grey blends.

    `size` is the picture's (width, height). A mask without transparent parts is read by its
    brightness. Strokes of one colour on a transparent ground, as editors make them, are read by
    their opacity, whatever the colour. Where both vary, brightness is taken, with transparent
    parts as white, and a `UserWarning` says so.

    Raises `ImageError` when the mask is of another size, or cannot be read.
    """
    mask = _grey(open_layers(source))
    if mask.size != size:
        (mask_width, mask_height), (width, height) = mask.size, size
        advice = "make them the same size"
        if mask.size == (height, width):  # drawn on a photo whose EXIF orientation was ignored
            advice = "turn the mask, pictures are read upright as viewers show them"
        raise ImageError(
            f"the mask is {mask_width}x{mask_height} and the picture {width}x{height}: {advice}"
        )
    return mask


def _grey(image: Image.Image) -> Image.Image:
    """The mask of a picture in mode RGB or RGBA."""
    if image.mode == "RGB":
        return image.convert("L")
    pixels = np.asarray(image)  # [h w 4]
    opacity = pixels[..., 3]
    varies = opacity.min() < opacity.max()
    if opacity.max() == 0 or (varies and _has_one_colour(pixels)):
        return Image.fromarray(opacity)
    if varies:
        warnings.warn(
            "the mask has both colours and transparent parts: its brightness is taken, with "
            "transparent parts as white; save it as grey without transparency to be sure",
            stacklevel=4,
        )
    return on_white(image).convert("L")


def _has_one_colour(pixels: np.ndarray) -> bool:
    """Whether all that is at least half as opaque as the most opaque pixel has one colour."""
    opacity = pixels[..., 3].astype(int)
    colours = pixels[2 * opacity >= opacity.max(), :3]  # [n 3]
    return bool((np.ptp(colours, axis=0) <= _ONE_COLOUR).all())
