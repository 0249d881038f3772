r"""Pictures become files: numbered, never overwritten, whole or not there, with their parameters inside.

Room       files, called by image.py and the command line
Maps       list of PIL images -> list of paths
See        tests/test_image.py
"""

import os
import re
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from labml_sd.errors import ImageError
from labml_sd.image_reading import PathLike
from labml_sd.metadata import exif_of, png_text_of

_FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}


def save_images(
    images: Sequence[Image.Image], outdir: PathLike, prefix: str = "", img_format: str = "png"
) -> list[Path]:
    """Write `images` into the folder `outdir` as 00000.png, 00001.png, ... after `prefix`; return the paths.

    Numbers go on after the highest that is there. A file that exists is never touched, also when two programs
    save at once. The generation parameters of each picture travel inside its file.
    `img_format` is "png", "jpg" or "webp" (the last two lose detail, at quality 95).

    Raises `ImageError` when the format is unknown or the folder cannot be written.
    """
    suffix = "jpg" if img_format.lower() == "jpeg" else img_format.lower()
    if suffix not in _FORMATS:
        raise ImageError(f'format "{img_format}" is unknown: choose {", ".join(_FORMATS)}')
    if Path(f"{prefix}0").name != f"{prefix}0" or "\\" in prefix:
        raise ImageError(f'prefix "{prefix}" names a folder: give it as outdir')
    folder = Path(outdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_write_next(folder, prefix, suffix, _encode(image, suffix)) for image in images]
    except OSError as error:
        raise _cannot_write(folder, error.strerror or str(error)) from error


def check_folder(outdir: PathLike) -> None:
    """Raise `ImageError` if `save_images` could not write there: better told before drawing than after."""
    folder = Path(outdir)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise _cannot_write(folder, f"{there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _cannot_write(folder, "no permission")


def _cannot_write(folder: Path, reason: str) -> ImageError:
    return ImageError(f"cannot write to {folder} ({reason}): choose another folder")


def _encode(image: Image.Image, suffix: str) -> bytes:
    buffer = BytesIO()
    if suffix == "png":
        image.save(buffer, "PNG", pnginfo=png_text_of(image))
        return buffer.getvalue()
    exif = exif_of(image)
    if suffix == "jpg" and len(exif) > 65_000:  # one JPEG segment holds 65,533 bytes
        raise ImageError("the prompt is too long for a JPEG file: save as png")
    image.save(buffer, _FORMATS[suffix], quality=95, exif=exif)
    return buffer.getvalue()


def _write_next(folder: Path, prefix: str, suffix: str, content: bytes) -> Path:
    number = _next_number(folder, prefix)
    while True:
        path = folder / f"{prefix}{number:05d}.{suffix}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the name is ours, or taken
            break
        except FileExistsError:
            number += 1
    try:
        _fill(path, content)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _next_number(folder: Path, prefix: str) -> int:
    """One more than the highest number in use: counting files would reuse a number after a deletion."""
    pattern = re.compile(re.escape(prefix) + r"(\d{5,})\.(?:" + "|".join(_FORMATS) + ")")
    matches = (pattern.fullmatch(entry.name) for entry in folder.iterdir())
    return max((int(m[1]) for m in matches if m), default=-1) + 1


def _fill(path: Path, content: bytes) -> None:
    """Write beside the file, then rename: a reader sees the whole picture or an empty name, never a part."""
    mode = path.stat().st_mode & 0o777  # what the user's umask left; a temporary file is always private
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
