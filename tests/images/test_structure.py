"""Small files that would take long: Pillow needs seconds to minutes for what is refused here."""

import io
import os
import struct
import zlib

import pytest
from PIL import Image

from labml_sd.errors import ImageError
from labml_sd.images import structure as image_structure
from labml_sd.images.structure import check_structure

PIXELS = 2**24


def png(middle: bytes = b"", after: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body))
            + kind
            + body
            + struct.pack(">I", zlib.crc32(kind + body))
        )

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return start + middle + chunk(b"IDAT", zlib.compress(b"\0\0")) + after + chunk(b"IEND", b"")


def jpeg(before: bytes = b"", after: bytes = b"", **options: object) -> bytes:
    """A JPEG with something put after its first marker, and before its last."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    return data[:2] + before + data[2:-2] + after + data[-2:]


def segment(marker: int, body: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def empty_chunk(kind: bytes) -> bytes:
    return bytes(4) + kind + struct.pack(">I", zlib.crc32(kind))


EXIF = segment(0xE1, b"Exif\0\0" + bytes(100))
SCAN = segment(0xDA, b"\1\1\0\0\0\0") + bytes(4)

REFUSED = {
    "chunks before the pixels": (
        lambda: png(empty_chunk(b"prVt") * 2**16),
        "65,536 PNG chunks",
    ),
    "chunks after the pixels": (
        lambda: png(after=empty_chunk(b"tEXt") * 2**16),
        "65,536 PNG chunks",
    ),
    "empty pieces of pixels": (lambda: png(empty_chunk(b"IDAT") * 2**16), "65,536 PNG chunks"),
    "a large chunk": (
        lambda: png(struct.pack(">I", 2**24 + 1) + b"tEXt"),
        "16,777,216 bytes beside",
    ),
    "large chunks": (
        lambda: png((struct.pack(">I", 2**20) + b"tEXt" + bytes(2**20 + 4)) * 17),
        "16,777,216",
    ),
    "segments": (lambda: jpeg(segment(0xE5) * 4096), "4,096 JPEG segments"),
    "filling": (lambda: jpeg(b"\xff" * 5000), "4,096 JPEG segments"),
    "bytes between segments": (
        lambda: jpeg(segment(0xE5) + bytes(5000)),
        "4,096 JPEG segments",
    ),
    "escaped bytes between segments": (lambda: jpeg(b"\xff\0" * 5000), "4,096 JPEG segments"),
    "markers without a length": (lambda: jpeg(b"\xff\xd0" * 5000), "4,096 JPEG segments"),
    "EXIF in 65 pieces": (lambda: jpeg(EXIF * 65), "bytes or more beside its pixels"),
    "large segments": (
        lambda: jpeg(segment(0xE5, bytes(65_000)) * 300),
        "bytes or more beside its pixels",
    ),
}


def check(folder, data: bytes, max_pixels: int = PIXELS) -> None:
    (folder / "picture").write_bytes(data)
    with (folder / "picture").open("rb") as file:
        check_structure(file, "picture", max_pixels)
        assert file.tell() == 0


@pytest.mark.parametrize("make, message", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_made_to_take_long_is_refused(make, message, tmp_path):
    with pytest.raises(ImageError, match=f"^picture holds .*{message}"):
        check(tmp_path, make())


@pytest.mark.parametrize(
    "data",
    [
        png(empty_chunk(b"prVt") * 60_000),
        jpeg(segment(0xE5) * 4000 + EXIF * 60),
        jpeg(b"\xff" * 1000),
        jpeg(progressive=True),
        png()[:-3],
        jpeg()[:30],
        b"\xff\xd8\xff",
    ],
    ids=[
        "chunks",
        "segments",
        "filling",
        "progressive",
        "PNG cut short",
        "JPEG cut short",
        "three bytes",
    ],
)
def test_what_stays_below_the_limits_is_left_to_pillow(data, tmp_path):
    check(tmp_path, data)


def scans(count: int, side: int) -> bytes:
    data = jpeg(after=SCAN * (count - 1))
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", side, side) + data[at + 4 :]


@pytest.mark.parametrize("side, count", [(4096, 16), (1024, 256), (8, 256)])
def test_a_smaller_jpeg_may_have_more_passes_over_its_pixels(side, count, tmp_path):
    check(tmp_path, scans(count, side))


@pytest.mark.parametrize("side, count", [(4096, 17), (1024, 257), (8192, 17)])
def test_a_jpeg_of_too_many_passes_over_its_pixels_is_refused(side, count, tmp_path):
    with pytest.raises(ImageError, match=f"{count} passes over its pixels"):
        check(tmp_path, scans(count, side))


def test_passes_are_found_where_blocks_of_reading_meet(tmp_path):
    data = scans(1, 4096)
    filling = bytes(2**20 - 1 - (len(data) - data.index(b"\xff\xda") - 12) % 2**20)
    many = b"".join(filling + b"\xff\xda" for _ in range(17))
    with pytest.raises(ImageError, match="passes over its pixels"):
        check(tmp_path, data + many)


@pytest.mark.parametrize("data, per_pixel", [(png(), 8), (jpeg(), 8), (b"RIFF\4\0\0\0WEBP", 4)])
def test_a_file_larger_than_its_pixels_can_be_is_refused_unread(data, per_pixel, tmp_path):
    limit = image_structure.MAX_BESIDE + per_pixel * 100
    (tmp_path / "picture").write_bytes(data)
    os.truncate(tmp_path / "picture", limit)  # a hole: it takes no room on the disk
    with (tmp_path / "picture").open("rb") as file:
        check_structure(file, "picture", 100)
    os.truncate(tmp_path / "picture", limit + 1)
    with (
        (tmp_path / "picture").open("rb") as file,
        pytest.raises(ImageError, match="too large"),
    ):
        check_structure(file, "picture", 100)
