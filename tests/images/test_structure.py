"""Small files that keep Pillow busy for seconds to minutes are refused before it reads them."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from labml_sd.errors import ImageError
from labml_sd.images.reading import read_picture
from labml_sd.images.structure import MAX_BESIDE, MAX_PASSES, check_structure

PIXELS = 2**24


def png(middle: bytes = b"", after: bytes = b"") -> bytes:
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return start + middle + pixels + after + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    sum_of = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + sum_of


def jpeg(before: bytes = b"", after: bytes = b"", **options: object) -> bytes:
    """A JPEG with something put after its first marker, and before its last."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", **options)
    data = buffer.getvalue()
    return data[:2] + before + data[2:-2] + after + data[-2:]


def segment(marker: int, body: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


EMPTY = {kind: chunk(kind, b"") for kind in (b"prVt", b"tEXt", b"IDAT")}
EXIF = segment(0xE1, b"Exif\0\0" + bytes(65_000))
SCAN = segment(0xDA, b"\1\1\0\0\0\0") + bytes(4)
CHUNKS = "65,536 PNG chunks or 16,777,216 bytes beside"
SEGMENTS = "4,096 JPEG segments or 16,777,216 bytes before"

REFUSED = {
    "chunks before the pixels": (lambda: png(EMPTY[b"prVt"] * 2**16), CHUNKS),
    "chunks after the pixels": (lambda: png(after=EMPTY[b"tEXt"] * 2**16), CHUNKS),
    "empty pieces of pixels": (lambda: png(EMPTY[b"IDAT"] * 2**16), CHUNKS),
    "a large chunk": (lambda: png(struct.pack(">I", 2**24) + b"prVt"), CHUNKS),
    "large chunks": (lambda: png(chunk(b"prVt", bytes(2**20)) * 16), CHUNKS),
    "segments": (lambda: jpeg(segment(0xE5) * 4096), SEGMENTS),
    "filling": (lambda: jpeg(b"\xff" * 5000), SEGMENTS),
    "bytes between segments": (lambda: jpeg(segment(0xE5) + bytes(5000)), SEGMENTS),
    "escaped bytes between segments": (lambda: jpeg(b"\xff\0" * 5000), SEGMENTS),
    "markers without a length": (lambda: jpeg(b"\xff\xd0" * 5000), SEGMENTS),
    "a marker without a length over others": (lambda: jpeg(b"\xff\xc8" * 5000), SEGMENTS),
    "EXIF in 300 pieces": (lambda: jpeg(EXIF * 300), SEGMENTS),
    "passes over the pixels": (lambda: jpeg(after=SCAN * MAX_PASSES), "1,000 passes"),
}


def check(folder, data: bytes, max_pixels: int = PIXELS) -> None:
    (folder / "picture").write_bytes(data)
    with (folder / "picture").open("rb") as file:
        check_structure(file, "picture", max_pixels)
        assert file.tell() == 0


@pytest.mark.parametrize("make, message", REFUSED.values(), ids=REFUSED)
def test_a_file_made_to_take_long_is_refused(make, message, tmp_path):
    with pytest.raises(ImageError, match=f"^picture holds more than {message}"):
        check(tmp_path, make())


KEPT = {
    "chunks": png(EMPTY[b"prVt"] * 60_000),
    "segments": jpeg(segment(0xE5) * 4000),
    "EXIF in 100 pieces": jpeg(EXIF * 100),
    "filling": jpeg(b"\xff" * 1000),
    "progressive": jpeg(progressive=True),
    "passes over the pixels": jpeg(after=SCAN * (MAX_PASSES - 1)),
    "PNG cut short": png()[:-3],
    "JPEG cut short": jpeg()[:30],
    "three bytes": b"\xff\xd8\xff",
    "no bytes": b"",
    "a WEBP without content": b"RIFF\4\0\0\0WEBP",
    "a text": b"just words",
}


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT)
def test_what_stays_below_the_limits_is_left_to_pillow(data, tmp_path):
    check(tmp_path, data)


def test_a_film_behind_a_photo_is_not_taken_for_passes(tmp_path):
    # As a phone's motion photo has it: by chance two bytes in 65,536 look like a pass.
    film = np.random.default_rng(0).bytes(2**23)
    (tmp_path / "a.jpg").write_bytes(jpeg() + film)
    assert read_picture(tmp_path / "a.jpg").size == (8, 8)


def test_passes_are_found_where_blocks_of_reading_meet(tmp_path):
    data = jpeg()
    filling = bytes(2**20 - 1 - len(data) % 2**20)
    many = filling + (b"\xff\xda" + bytes(2**10 - 2)) * (MAX_PASSES + 1)
    with pytest.raises(ImageError, match="passes over its pixels"):
        check(tmp_path, data + many)


@pytest.mark.parametrize("data", [png(), jpeg(), b"RIFF\4\0\0\0WEBP"])
def test_a_file_larger_than_its_pixels_can_be_is_refused_unread(data, tmp_path):
    limit = MAX_BESIDE + 8 * 100
    (tmp_path / "picture").write_bytes(data)
    os.truncate(tmp_path / "picture", limit)  # a hole: it takes no space on the disk
    with (tmp_path / "picture").open("rb") as file:
        check_structure(file, "picture", 100)
    os.truncate(tmp_path / "picture", limit + 1)
    with (
        (tmp_path / "picture").open("rb") as file,
        pytest.raises(ImageError, match="too large"),
    ):
        check_structure(file, "picture", 100)


def test_pillow_limits_what_text_chunks_hold(tmp_path):
    text = b"k\0\0" + zlib.compress(bytes(2**20))
    (tmp_path / "a.png").write_bytes(png(chunk(b"zTXt", text) * 65))
    with pytest.raises(ImageError, match="is damaged or cut short"):
        read_picture(tmp_path / "a.png")
