r"""How a picture file is put together, looked at before Pillow reads it.

The size of a picture limits its pixels and nothing else. A small file can also hold a million
empty chunks, an EXIF block in a thousand pieces, or a thousand passes over the same pixels:
seconds to minutes of work for Pillow. No camera and no program writes such files, so they are
refused.

Maps       an open file -> nothing, or one line that says what is wrong
Tests      tests/images/test_structure.py
"""

import os
from collections.abc import Iterator
from typing import BinaryIO

from labml_sd.errors import ImageError

MAX_BESIDE = 2**24  # bytes that are no pixels: texts, profiles, EXIF
MAX_CHUNKS = (
    2**16
)  # libpng writes 134 MB of pixels, the most that are read, in 16,384 of its usual 8 KiB
MAX_SEGMENTS = 2**12  # before the first pixels of a JPEG; each holds at most 64 KiB
MAX_EXIF = 64  # pieces of one EXIF block; Pillow copies the whole block for each
MAX_PASSES = 16  # of a progressive JPEG over as many pixels as are read at most; ten are usual

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_ALONE = {
    0xC8,
    *range(0xD0, 0xDA),
    *range(0xF0, 0xFE),
}  # JPEG markers after which Pillow reads no length
_FRAMES = {
    0xC0,
    0xC1,
    0xC2,
    0xC3,
    0xC5,
    0xC6,
    0xC7,
    0xC9,
    0xCA,
    0xCB,
    0xCD,
    0xCE,
    0xCF,
}  # they hold the size
_SCAN = 0xDA


def check_structure(file: BinaryIO, name: str, max_pixels: int) -> None:
    """Refuse what is no PNG, JPEG or WEBP, and what is made to take long. Leaves the file at its start."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(12)
    is_webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    if not (is_webp or head.startswith((_JPEG, _PNG))):
        raise ImageError(f"{name} is no picture that can be read: expected PNG, JPEG or WEBP")
    limit = MAX_BESIDE + max_pixels * (
        4 if is_webp else 8
    )  # no pixel takes more, however badly packed
    if size > limit:
        raise ImageError(
            f"{name} is too large: {size:,} bytes for a picture; at most {limit:,} are read"
        )
    if head.startswith(_PNG):
        _check_png(file, name)
    if head.startswith(_JPEG):
        _check_jpeg(file, name, max_pixels)
    file.seek(0)


def _check_png(file: BinaryIO, name: str) -> None:
    beside = 0
    for n_chunks, (kind, length) in enumerate(_chunks(file), start=1):
        beside += 0 if kind in (b"IDAT", b"fdAT") else length
        if n_chunks > MAX_CHUNKS:
            raise _overloaded(name, f"more than {MAX_CHUNKS:,} PNG chunks")
        if beside > MAX_BESIDE:
            raise _overloaded(name, f"more than {MAX_BESIDE:,} bytes beside its pixels")


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """(kind, length) of each chunk, as far as the file goes."""
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8:
        kind, length = head[4:], int.from_bytes(head[:4])
        yield kind, length
        if kind == b"IEND":
            return
        file.seek(length + 4, os.SEEK_CUR)  # and the checksum


def _check_jpeg(file: BinaryIO, name: str, max_pixels: int) -> None:
    n_exif = beside = pixels = 0
    for n_segments, (marker, body) in enumerate(_segments(file), start=1):
        beside += len(body)
        n_exif += marker == 0xE1 and body.startswith(b"Exif\0\0")
        if marker in _FRAMES:
            pixels = max(pixels, int.from_bytes(body[1:3]) * int.from_bytes(body[3:5]))
        if n_segments > MAX_SEGMENTS:
            raise _overloaded(
                name, f"more than {MAX_SEGMENTS:,} JPEG segments before its pixels"
            )
        if n_exif > MAX_EXIF or beside > MAX_BESIDE:
            raise _overloaded(name, f"{beside:,} bytes or more beside its pixels")
    passes = 1 + _count(file, bytes([0xFF, _SCAN]))  # the first is behind us
    if passes > max(MAX_PASSES, MAX_PASSES * max_pixels // max(1, pixels)):
        raise _overloaded(name, f"{passes:,} passes over its pixels")


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of each segment up to the first scan; a byte between segments counts as one too."""
    file.seek(2)
    while byte := file.read(1):
        if byte != b"\xff":
            yield 0, b""
            continue
        marker = int.from_bytes(file.read(1))  # at the end of the file 0
        if marker == 0xFF:  # filling: the next byte may be the marker
            file.seek(-1, os.SEEK_CUR)
        if marker in (0x00, 0xFF) or marker in _ALONE:
            yield marker, b""
            continue
        yield marker, file.read(max(0, int.from_bytes(file.read(2)) - 2))
        if marker == _SCAN:
            return


def _count(file: BinaryIO, needle: bytes) -> int:
    """How often two bytes stand in the rest of the file. Packed pixels never hold a marker."""
    found, last = 0, b""
    while block := file.read(2**20):
        found += (last + block).count(needle)
        last = block[-1:]
    return found


def _overloaded(name: str, what: str) -> ImageError:
    return ImageError(
        f"{name} holds {what}, as no usual picture does: open it elsewhere and save it again"
    )
