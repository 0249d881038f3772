r"""A picture file becomes an upright 8-bit RGB picture, or one line that says why not.

Room       files, called by image.py and metadata.py
Maps       a path or a PIL image -> a PIL image in mode RGB
See        tests/test_image.py
"""

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from labml_sd.errors import ImageError

FORMATS = ("PNG", "JPEG", "WEBP")  # no other parser of Pillow is ever reached
MAX_PIXELS = 40_000_000  # as float32 RGB this is half a gigabyte; Pillow alone would let 179 megapixels pass

PathLike = str | os.PathLike[str]

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)


def open_image(source: PathLike | Image.Image) -> Image.Image:
    """Open a PNG, JPEG or WEBP file (or take a PIL image) as an upright RGB picture.

    The EXIF turn is applied, transparent parts are laid on white, 16-bit grey is scaled to 8 bits, and of an
    animation the first frame is taken. The caller's image is left as it was.

    Raises `ImageError` for a missing, foreign, cut, empty or too large picture.
    """
    image = source if isinstance(source, Image.Image) else read_picture(source)
    name = "the image" if isinstance(source, Image.Image) else str(source)
    check_size(image, name)
    try:
        return _to_rgb(ImageOps.exif_transpose(image), name)
    except _DAMAGE as error:
        raise _damaged(name, error) from error


def read_picture(path: PathLike) -> Image.Image:
    """Read a file as it is: its own mode, not turned, with its texts in `.info`. Raises `ImageError`."""
    if not isinstance(path, str | os.PathLike):
        raise ImageError(f"a {type(path).__name__} is no picture: give a PIL image or the path of a file")
    file = Path(path)
    if not file.is_file():  # also refuses pipes and devices, which would block
        reason = "is no file" if file.exists() else "does not exist"
        raise ImageError(f"{path} {reason}: give the path of a PNG, JPEG or WEBP picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check_size has the lower limit
        try:
            with Image.open(file, formats=FORMATS) as image:
                check_size(image, str(path))
                image.load()
                return image
        except UnidentifiedImageError as error:
            raise ImageError(f"{path} is no picture that can be read: expected PNG, JPEG or WEBP") from error
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{path} is too large: at most {MAX_PIXELS / 1e6:.0f} megapixels are read"
            ) from error
        except _DAMAGE as error:
            raise _damaged(str(path), error) from error


def check_size(image: Image.Image, name: str) -> None:
    """Refuse a picture without pixels, and one with too many."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name} is empty: {width}x{height} pixels; give a picture of at least 1x1")
    if width * height > MAX_PIXELS:
        limit = f"make it smaller, at most {MAX_PIXELS / 1e6:.0f} megapixels"
        raise ImageError(f"{name} is too large: {width}x{height} pixels; {limit}")


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise ImageError(
            f"{name} holds floating-point values without a stated range: convert it to 8 bits first"
        )
    if image.mode.startswith("I"):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        # What lies under transparent pixels is arbitrary, so it must not show.
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey: 65535 -> 255. Pillow's own `convert` would clip everything above 255 to white."""
    values = np.asarray(image).astype(np.float64).clip(0, 65535)
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _damaged(name: str, error: BaseException) -> ImageError:
    detail = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name} is damaged or cut short ({detail}): save or download it again")
