"""What a `Picture` of `labml_sd.figures` shows, as pixels."""

import io

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from labml_sd.figures import Picture
from labml_sd.figures.picture import DENSITY


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png))


def pixels(picture: Picture) -> np.ndarray:
    """The page [h w 3], as signed numbers, one of the pixels of the file for each CSS pixel."""
    image = opened(picture)
    return css_pixels(image.convert("RGB"), image.width // picture.width)


def css_pixels(image: Image.Image, density: int = DENSITY) -> np.ndarray:
    """Every pixel at the upper left of a square that stands for one CSS pixel."""
    return np.asarray(image)[::density, ::density].astype(int)


def where(page: np.ndarray, colour: str | tuple[int, ...], near: int = 2) -> np.ndarray:
    """Rows and columns of the pixels in a colour: 0 to 255, or as matplotlib writes it."""
    rgb = [round(255 * part) for part in to_rgb(colour)] if isinstance(colour, str) else colour
    return np.argwhere(np.abs(page - np.array(rgb)).max(axis=-1) <= near)
