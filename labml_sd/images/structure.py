r"""Limits on how a picture file is put together, beside Pillow's own.

The number of pixels bounds neither the size of a file nor the time to read it. These small
files keep Pillow 13 busy for seconds to minutes: a million empty chunks, an EXIF block in a
thousand pieces, or thousands of passes over the same pixels. No camera and no program writes
such files, so they are refused. Pillow itself limits what text chunks unfold to.

Maps       an open file -> nothing, or `ImageError`
Tests      tests/images/test_structure.py
"""

import os
from typing import BinaryIO

from labml_sd.errors import ImageError

MAX_BESIDE = 2**24  # bytes that are not pixels: texts, profiles, EXIF
MAX_BYTES_PER_PIXEL = 8  # four channels of 16 bits
MAX_CHUNKS = 2**16  # of a PNG; 134 MB of pixels take 16,384 of libpng's usual 8 KiB
MAX_SEGMENTS = 2**12  # of a JPEG before its pixels; each holds at most 64 KiB
# Of a JPEG over its pixels; ten are usual. By chance in data behind it: 65 MB.
MAX_PASSES = 1000

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN = b"\xff\xda"  # a pass over the pixels; packed pixels never hold a marker
# JPEG markers after which Pillow reads no length
_WITHOUT_LENGTH = {0x00, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}


def check_structure(file: BinaryIO, name: str, max_pixels: int) -> None:
    """Refuse a file that is too large or takes long to read. Leaves it at its start."""
    size = os.fstat(file.fileno()).st_size
    limit = MAX_BESIDE + max_pixels * MAX_BYTES_PER_PIXEL
    if size > limit:
        raise ImageError(
            f"{name} is too large: {size:,} bytes for a picture; at most {limit:,} are read"
        )
    head = file.read(8)
    if head == _PNG and not _has_few_chunks(file):
        limits = f"{MAX_CHUNKS:,} PNG chunks or {MAX_BESIDE:,} bytes"
        raise _overloaded(name, f"more than {limits} beside its pixels")
    if head.startswith(_JPEG):
        if not _has_short_header(file):
            limits = f"{MAX_SEGMENTS:,} JPEG segments or {MAX_BESIDE:,} bytes"
            raise _overloaded(name, f"more than {limits} before its pixels")
        if _count(file, _START_OF_SCAN) > MAX_PASSES:
            raise _overloaded(name, f"more than {MAX_PASSES:,} passes over its pixels")
    file.seek(0)


def _has_few_chunks(file: BinaryIO) -> bool:
    """Go from chunk to chunk of a PNG, as far as the file goes.

    A chunk is its length, its kind, its content and a checksum.
    """
    file.seek(len(_PNG))
    beside = 0
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        length, kind = int.from_bytes(head[:4]), head[4:]
        beside += 0 if kind in (b"IDAT", b"fdAT") else length  # pixels, of a later frame too
        if beside > MAX_BESIDE:
            return False
        if len(head) < 8 or kind == b"IEND":
            return True
        file.seek(length + 4, os.SEEK_CUR)
    return False


def _has_short_header(file: BinaryIO) -> bool:
    """Go from segment to segment of a JPEG up to its pixels, or byte by byte between them."""
    file.seek(2)
    for _ in range(MAX_SEGMENTS):
        marker = file.read(2)
        if len(marker) < 2 or marker == _START_OF_SCAN:
            return file.tell() <= MAX_BESIDE
        if marker[0] != 0xFF or marker[1] == 0xFF:  # the next byte may begin a marker
            file.seek(-1, os.SEEK_CUR)
        elif marker[1] not in _WITHOUT_LENGTH:
            file.seek(max(0, int.from_bytes(file.read(2)) - 2), os.SEEK_CUR)
    return False


def _count(file: BinaryIO, needle: bytes) -> int:
    """How often two bytes stand in a file."""
    file.seek(0)
    found, last = 0, b""
    while block := file.read(2**20):
        found += (last + block).count(needle)
        last = block[-1:]
    return found


def _overloaded(name: str, what: str) -> ImageError:
    return ImageError(
        f"{name} holds {what}, as no usual picture does: open it elsewhere and save it again"
    )
