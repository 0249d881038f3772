r"""Read a picture file as an upright 8-bit RGB picture.

Maps       a path or a PIL image -> a PIL image in mode RGB
Tests      tests/images/test_tensors.py
"""

import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from labml_sd.errors import ImageError, quoted
from labml_sd.images.structure import check_structure
from labml_sd.utilities.numbers import whole_number

MAX_PIXELS = 2**24  # 4096x4096: 201 MB as float32 RGB
MAX_SIDE = 2**16  # a row costs memory of its own, even one of a single pixel

PathLike = str | os.PathLike[str]

_DAMAGE = (  # what Pillow's parsers raise, by design or not, for wrong bytes
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError),
    *(AttributeError, AssertionError, OverflowError, RecursionError, struct.error, zlib.error),
)
# Pillow's `Image.open` would warn of a picture of 89 million pixels before it can be refused.
# No other parser of Pillow is ever reached.
_PARSERS: dict[str, tuple[re.Pattern[bytes], Callable[[BinaryIO], ImageFile.ImageFile]]] = {
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    "JPEG": (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.jpeg_factory),
    "WEBP": (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
}
_ORIENTATION = 0x0112  # EXIF 2.32, tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TO_8_BITS = np.rint(np.arange(2**16) / 257).astype(np.uint8)  # 65535 -> 255
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # PNG: grey of few bits is spread over 0..255


def open_image(source: PathLike | Image.Image, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a PNG, JPEG or WEBP file (or take a PIL image) as an upright RGB picture.

    The EXIF orientation is applied, transparent parts are laid on white, 16-bit grey is scaled
    to 8 bits. Colour profiles are not applied. The first frame of an animation is taken, with a
    `UserWarning`.

    A file of more than `max_pixels` pixels is refused before they are decoded. A PIL image of
    any size is taken, unless it comes straight from `Image.open`. The caller's image is not
    changed. Raises `ImageError` for a picture that is missing, of another format, damaged,
    empty or too large.
    """
    return on_white(open_layers(source, max_pixels=max_pixels))


def open_layers(source: PathLike | Image.Image, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """As `open_image`, with the opacity kept: in mode RGB, or RGBA if parts are transparent."""
    if isinstance(source, Image.Image):
        image, name, n_frames = source, "the image", 1
    else:
        image, name = read_picture(source, max_pixels=max_pixels), str(source)
        n_frames = getattr(image, "n_frames", 1)
    _check_size(image, name, max_pixels)
    try:
        upright = _to_8_bits(image, name)
        orientation = exif_value(image, _ORIENTATION)
        if isinstance(orientation, int) and orientation in _TURNS:
            upright = upright.transpose(_TURNS[orientation])
    except _DAMAGE as error:
        raise _damaged(name, error) from error
    upright.info = {}  # with the orientation, or the picture would be turned once more
    if n_frames > 1:
        warnings.warn(f"{name} holds {n_frames} pictures: the first is taken", stacklevel=3)
    return upright


def read_picture(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a file as it is: its own mode, not turned, with its texts in `.info`.

    Raises `ImageError`.
    """
    if not isinstance(path, str | os.PathLike):
        raise ImageError(
            f"a {type(path).__name__} is not a picture: give a PIL image or the path of a file"
        )
    limit = whole_number(max_pixels)
    if limit is None or limit < 1:
        raise ImageError(
            f"max_pixels is {quoted(max_pixels)}: give a whole number of pixels, at least 1"
        )
    name = str(path)
    with _open(path) as file:
        try:
            check_structure(file, name, limit)
            with _parsed(file, name) as image:
                _check_size(image, name, limit)
                _check_transparency(image, name)
                image.load()
                return image
        except Image.DecompressionBombError as error:  # of WEBP; raising max_pixels won't help
            raise ImageError(
                f"{name} is too large: more than 178 million pixels; "
                f"make it smaller, at most {limit:,}"
            ) from error
        except _DAMAGE as error:
            raise _damaged(name, error) from error


def _open(path: PathLike) -> BinaryIO:
    advice = "give the path of a PNG, JPEG or WEBP picture"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a device would block
            raise ImageError(f"{path} is not a file: {advice}")
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"{path} does not exist: {advice}") from error
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path} cannot be opened ({reason}): {advice}") from error


def picture_format(head: bytes) -> str | None:
    """ "PNG", "JPEG" or "WEBP" by the first 12 bytes of a file; None for all else."""
    return next((name for name, (begin, _) in _PARSERS.items() if begin.match(head)), None)


def _parsed(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    """The picture of a file, its pixels not yet read."""
    kind = picture_format(file.read(12))
    file.seek(0)
    try:
        if kind is not None:
            return _PARSERS[kind][1](file)
        problem = None
    except (SyntaxError, IndexError, TypeError, struct.error) as error:
        problem = error
    raise ImageError(
        f"{name} is not a picture that can be read: expected PNG, JPEG or WEBP"
    ) from problem


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    """Refuse a picture without pixels, and one of a file with too many."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(
            f"{name} is empty: {width}x{height} pixels; give a picture of at least 1x1"
        )
    if not isinstance(image, ImageFile.ImageFile):  # it is in memory already
        return
    if max(width, height) > MAX_SIDE:
        limit = f"make it smaller, at most {MAX_SIDE:,} pixels a side"
        raise ImageError(f"{name} is too large: {width}x{height} pixels; {limit}")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} is too large: {width}x{height} pixels; make it smaller, at most "
            f"{max_pixels:,}, or raise max_pixels (--max-pixels in the shell)"
        )


def _check_transparency(image: Image.Image, name: str) -> None:
    """Bring the transparent colour of a PNG to 8 bits, where Pillow brings only its pixels."""
    depth = (
        image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    )
    if "transparency" not in image.info:
        return
    if depth == "RGB;16B":
        raise ImageError(
            f"{name} has 16-bit colours, one of them transparent: save it with 8 bits"
        )
    if isinstance(depth, str) and depth in _GREY_STEPS:
        image.info["transparency"] *= _GREY_STEPS[depth]


def _to_8_bits(image: Image.Image, name: str) -> Image.Image:
    """In mode RGB, or RGBA where parts are transparent."""
    if image.mode == "F":
        raise ImageError(
            f"{name} holds floating-point values without a stated range: "
            "convert it to 8 bits first"
        )
    if image.mode.startswith("I"):
        return _grey_of_16_bits(image).convert("RGB")
    if image.mode in ("La", "RGBa"):  # colours multiplied by their opacity
        image = image.convert(image.mode.upper())
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def on_white(image: Image.Image) -> Image.Image:
    """Lay a picture in mode RGBA on white: the colours of transparent pixels are arbitrary."""
    if image.mode == "RGB":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _grey_of_16_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey: 65535 -> 255. Pillow's `convert` would clip all above 255 to white."""
    values = np.asarray(image)
    grey = _TO_8_BITS[values.clip(0, 65535)]
    grey[values == image.info.get("transparency", -1)] = 255
    return Image.fromarray(grey)


def exif_value(image: Image.Image, tag: int, ifd: int | None = None) -> object:
    """A value of the EXIF block; None where it is missing or the block is damaged."""
    try:
        exif = image.getexif()
        return (exif if ifd is None else exif.get_ifd(ifd)).get(tag)
    except _DAMAGE:
        return None


def _damaged(name: str, error: BaseException) -> ImageError:
    detail = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"{name} is damaged or cut short ({detail}): save or download it again")
