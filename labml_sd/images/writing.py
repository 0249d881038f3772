r"""Save pictures as numbered files. None is overwritten, and none is ever there in part.

Maps       list of PIL images -> list of paths
Tests      tests/images/test_tensors.py
"""

import errno
import os
import re
import secrets
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from labml_sd.errors import ImageError, quoted
from labml_sd.images.reading import PathLike
from labml_sd.images.texts import JSON_KEY, TEXT_KEY, XMP, exif_of, png_texts, texts_of
from labml_sd.utilities.numbers import whole_number
from labml_sd.utilities.replace import flush_file, flush_folder

_FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
_MAX_SEGMENT = 65_000  # bytes; one segment of a JPEG file holds 65,533
# Windows opens a device for CON, and for CON.00000.png as well.
_DEVICE = re.compile(
    r"(?i:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])\s*\."
)


def save_images(
    images: Sequence[Image.Image],
    outdir: PathLike,
    prefix: str = "",
    img_format: str = "png",
    *,
    number: int | None = None,
) -> list[Path]:
    """Write `images` into the folder `outdir` and return the paths.

    They are called 00000.png, 00001.png, ... after `prefix`; numbers continue after the highest
    in the folder, or with `number` the free ones from that number on are taken. A file that
    exists is never touched, even when two programs save at once. The generation parameters of
    each picture travel inside its file. `img_format` is "png", "jpg" or "webp" (the last two
    lose detail, at quality 95). `~` is the home folder.

    Raises `ImageError` when the format is unknown, the prefix cannot be part of a file's name,
    or the folder cannot be written.
    """
    name = img_format.lower() if isinstance(img_format, str) else ""
    suffix = "jpg" if name == "jpeg" else name
    if suffix not in _FORMATS:
        raise ImageError(
            f"format {quoted(img_format)} is unknown: choose {', '.join(_FORMATS)}"
        )
    if not isinstance(images, Sequence):
        raise ImageError(
            f"images is of type {type(images).__name__}: give a list of PIL images"
        )
    for image in images:
        if not isinstance(image, Image.Image):
            raise ImageError(
                f"images contains an item of type {type(image).__name__}: "
                "give a list of PIL images"
            )
    _check_prefix(prefix)
    if number is not None and (whole_number(number) is None or number < 0):
        raise ImageError(f"number is {quoted(number)}: give a whole number, at least 0")
    folder = _folder(outdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contents = (_encode(image, suffix) for image in images)
        return [_write_next(folder, prefix, suffix, number, each) for each in contents]
    except (OSError, ValueError) as error:  # ValueError: a name no file system can have
        raise _cannot_write(folder, error) from error


def check_folder(outdir: PathLike) -> Path:
    """The folder that `save_images` writes to; `ImageError` if it could not, before a run."""
    folder = _folder(outdir)
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if _exists(path))
    except (OSError, ValueError) as error:
        raise _cannot_write(folder, error) from error
    if not there.is_dir():
        raise _cannot_write(folder, f"{there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _cannot_write(folder, "no permission")
    return folder


def _exists(path: Path) -> bool:
    """As `Path.exists`, but raise for what cannot be a path at all."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _folder(outdir: PathLike) -> Path:
    if not isinstance(outdir, str | os.PathLike) or not os.fspath(outdir):
        raise ImageError(
            f"outdir is {quoted(outdir)}: give the path of a folder, . for this one"
        )
    try:
        return Path(outdir).expanduser()
    except RuntimeError as error:  # ~somebody
        raise ImageError(
            f"outdir is {outdir}: there is no user of that name, give another folder"
        ) from error


def _check_prefix(prefix: str) -> None:
    if not isinstance(prefix, str):
        raise ImageError(f"prefix is of type {type(prefix).__name__}: give a text")
    if any(mark in prefix for mark in "/\\:"):
        raise ImageError(f'prefix "{prefix}" names a folder or a drive: give it as outdir')
    if not prefix.isprintable():
        raise ImageError(
            f'prefix "{prefix}" holds characters that cannot be printed: leave them out'
        )
    if _DEVICE.match(prefix):
        raise ImageError(f'prefix "{prefix}" is a device on Windows: choose another')


def _cannot_write(folder: Path, reason: object) -> ImageError:
    shown = getattr(reason, "strerror", None) or reason
    is_long = isinstance(reason, OSError) and reason.errno == errno.ENAMETOOLONG
    other = "a shorter prefix or another folder" if is_long else "another folder"
    return ImageError(f"cannot write to {folder} ({shown}): choose {other}")


def _encode(image: Image.Image, suffix: str) -> bytes:
    buffer, texts = BytesIO(), texts_of(image)
    if suffix == "jpg":
        texts = _that_fit_a_jpeg(texts)
    options: dict[str, Any] = {"pnginfo": png_texts(texts)}
    if suffix != "png":
        xmp = texts.get(XMP, "").encode("utf-8", "replace")
        options = {"quality": 95, "exif": exif_of(texts), "xmp": xmp}
    try:
        image.save(buffer, _FORMATS[suffix], **options)
    except (OSError, ValueError) as error:
        picture = f"a picture of mode {image.mode} and {image.width}x{image.height} pixels"
        raise ImageError(
            f"{picture} cannot be saved as {suffix} ({error}): convert it, or save as png"
        ) from error
    return buffer.getvalue()


def _that_fit_a_jpeg(texts: dict[str, str]) -> dict[str, str]:
    """Leave out what other programs wrote if it is too long; `ImageError` if ours is."""
    ours = {name: text for name, text in texts.items() if name in (TEXT_KEY, JSON_KEY)}
    if len(exif_of(ours)) > _MAX_SEGMENT:
        raise ImageError("the prompt is too long for a JPEG file: save as png")
    kept = texts if len(exif_of(texts)) <= _MAX_SEGMENT else ours
    if len(kept.get(XMP, "").encode("utf-8", "replace")) > _MAX_SEGMENT:
        kept = {name: text for name, text in kept.items() if name != XMP}
    if lost := texts.keys() - kept.keys():
        names = ", ".join(sorted(lost))
        warnings.warn(
            f"too long for a JPEG file, and left out: {names}; save as png", stacklevel=4
        )
    return kept


def _write_next(
    folder: Path, prefix: str, suffix: str, number: int | None, content: bytes
) -> Path:
    """Write a temporary file, then give it its name: a reader sees all of it, or nothing."""
    temporary = folder / f".{secrets.token_hex(8)}.part"
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
            flush_file(temporary)
            path = _name(temporary, folder, prefix, suffix, number)
        finally:
            temporary.unlink(missing_ok=True)
    except BaseException:
        temporary.unlink(missing_ok=True)  # Ctrl-C may interrupt the line above
        raise
    flush_folder(folder)
    return path


def _name(temporary: Path, folder: Path, prefix: str, suffix: str, number: int | None) -> Path:
    """Give a written file the first free number. A file that has one is not touched."""
    number = next_number(folder, prefix) if number is None else number
    while True:
        path = folder / file_name(number, prefix, suffix)
        try:
            _take(temporary, path)
            return path
        except FileExistsError:
            number += 1


def _take(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # fails where the name is taken; renaming would overwrite
    except FileExistsError:
        raise
    except OSError:
        # A file system without links, such as FAT: take the name with an empty file.
        try:
            path.touch(exist_ok=False)
            os.replace(temporary, path)
        except FileExistsError:
            raise
        except BaseException:  # Ctrl-C too
            # Should the empty file be another program's: it will still replace it.
            if path.is_file() and path.stat().st_size == 0:
                path.unlink(missing_ok=True)
            raise


def file_name(number: int, prefix: str = "", suffix: str = "png") -> str:
    """What the picture of a number is called."""
    return f"{prefix}{number:05d}.{suffix}"


def next_number(folder: Path, prefix: str = "") -> int:
    """One more than the highest number in use: a count would reuse one after a deletion."""
    return max(numbered(folder, prefix), default=-1) + 1


def numbered(folder: Path, prefix: str = "") -> dict[int, Path]:
    """The pictures of a folder by their numbers, the lowest first; none if it is not there."""
    pattern = re.compile(re.escape(prefix) + r"([0-9]{5,9})\.(?:" + "|".join(_FORMATS) + ")")
    try:
        paths = sorted(folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise _cannot_write(folder, error) from error
    matches = ((pattern.fullmatch(path.name), path) for path in paths)
    return dict(sorted((int(match[1]), path) for match, path in matches if match))
