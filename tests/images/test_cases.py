"""Pictures that a phone, a camera or an attacker makes: the right RGB, or one line."""

import io
import os
import socket
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from inspect import unwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from labml_sd.errors import ImageError
from labml_sd.images.masks import load_mask
from labml_sd.images.reading import read_picture
from labml_sd.images.tensors import MAX_PIXELS, load_img, open_image

RNG = np.random.default_rng(0)
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG colour types
ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def samples(depth: int, channels: int, height: int = 5, width: int = 7) -> np.ndarray:
    return RNG.integers(0, 2**depth, (height, width, channels), dtype=np.int64)


def chunk(kind: bytes, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    )


def header(
    width: int, height: int, depth: int = 8, colour: int = RGB, interlaced: bool = False
) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    )


def packed(values: np.ndarray, depth: int) -> bytes:
    """Rows of samples as in a PNG: big-endian or as bits, each row after filter number 0."""
    rows = []
    for row in values.reshape(len(values), -1):
        bits = (row[:, None] >> np.arange(depth)[::-1]) & 1
        rows.append(b"\0" + np.packbits(bits.astype(np.uint8)).tobytes())
    return b"".join(rows)


def png(
    values: np.ndarray,
    depth: int,
    colour: int,
    *chunks: tuple[bytes, bytes],
    interlaced: bool = False,
) -> bytes:
    height, width = values.shape[:2]
    parts = [values[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [values]
    pixels = b"".join(packed(part, depth) for part in parts if part.size)
    middle = b"".join(chunk(*each) for each in chunks)
    return (
        header(width, height, depth, colour, interlaced)
        + middle
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """By the definition, in numbers from 0 to 1."""
    return 255 * (alpha * colours + 1 - alpha)


def grey_case(depth: int) -> tuple[bytes, np.ndarray]:
    values = samples(depth, 1)
    return png(values, depth, GREY), 255 * values / (2**depth - 1)


def grey_with_a_clear_level(depth: int) -> tuple[bytes, np.ndarray]:
    values = samples(depth, 1)
    clear = values[1, 2, 0]
    wanted = on_white(values / (2**depth - 1), values != clear)
    return png(values, depth, GREY, (b"tRNS", struct.pack(">H", clear))), wanted


def palette_case(depth: int, alphas: int = 0) -> tuple[bytes, np.ndarray]:
    values = samples(depth, 1)
    colours = RNG.integers(0, 256, (2**depth, 3))
    alpha = np.full(2**depth, 255)
    alpha[:alphas] = RNG.integers(0, 256, alphas)
    chunks = [(b"PLTE", colours.astype(np.uint8).tobytes())]
    if alphas:
        chunks.append((b"tRNS", alpha[:alphas].astype(np.uint8).tobytes()))
    index = values[..., 0]
    return png(values, depth, PALETTE, *chunks), on_white(
        colours[index] / 255, alpha[index][..., None] / 255
    )


def colour_case(
    depth: int, clear: bool = False, interlaced: bool = False
) -> tuple[bytes, np.ndarray]:
    values = samples(depth, 3)
    wanted, chunks = 255 * values / (2**depth - 1), []
    if clear:
        chunks = [(b"tRNS", struct.pack(">3H", *values[2, 3]))]
        wanted[(values == values[2, 3]).all(-1)] = 255
    return png(values, depth, RGB, *chunks, interlaced=interlaced), wanted


def alpha_case(depth: int, colour: int) -> tuple[bytes, np.ndarray]:
    values = samples(depth, 2 if colour == GREY_ALPHA else 4)
    share = values / (2**depth - 1)
    return png(values, depth, colour), on_white(share[..., :-1], share[..., -1:])


def halves(left: object, right: object, mode: str = "RGB") -> Image.Image:
    """Two flat halves, 16x16 each: JPEG keeps flat blocks nearly as they are."""
    image = Image.new(mode, (32, 16), left)
    image.paste(right, (16, 0, 32, 16))
    return image


def beside(left: Sequence[float], right: Sequence[float]) -> np.ndarray:
    return np.concatenate([np.full((16, 16, 3), left), np.full((16, 16, 3), right)], axis=1)


JPEG_COLOURS = (200, 100, 50), (12, 140, 230)
FLAT = {"quality": 100, "subsampling": 0}


def jpeg_case(**options: object) -> tuple[bytes, np.ndarray]:
    return saved(halves(*JPEG_COLOURS), "JPEG", **FLAT, **options), beside(*JPEG_COLOURS)


INKS = (10, 200, 90, 30), (255, 0, 40, 120)


def cmyk_case(**options: object) -> tuple[bytes, np.ndarray]:
    wanted = [[(255 - ink) * (255 - black) / 255 for ink in inks] for *inks, black in INKS]
    return saved(halves(*INKS, mode="CMYK"), "JPEG", **FLAT, **options), beside(*wanted)


def ycck_case() -> tuple[bytes, np.ndarray]:
    """The same numbers with Adobe's mark of YCbCr, as Photoshop writes them."""
    data, _ = cmyk_case()
    at = data.index(b"Adobe") + 11
    wanted = []
    for *inks, black in INKS:
        y, cb, cr = (255 - ink for ink in inks)  # in the file all four are inverted
        red = y + 1.402 * (cr - 128)
        green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
        blue = y + 1.772 * (cb - 128)
        # libjpeg reads CMY as 255 - RGB, and these too are stored inverted
        wanted.append(
            [(255 - v) * (255 - black) / 255 for v in np.clip([red, green, blue], 0, 255)]
        )
    return data[:at] + b"\2" + data[at + 1 :], beside(*wanted)


def exif_entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return b"II*\0" + struct.pack("<IHHHI", 8, 1, tag, kind, count) + value + bytes(4)


def turned_case(orientation: int) -> tuple[bytes, np.ndarray]:
    values = samples(8, 3)
    body = exif_entry(0x0112, 3, 1, struct.pack("<HH", orientation, 0))
    upright = {
        2: values[:, ::-1],
        3: values[::-1, ::-1],
        4: values[::-1],
        5: values.transpose(1, 0, 2),
        6: np.rot90(values, -1),
        7: values[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(values, 1),
    }
    return png(values, 8, RGB, (b"eXIf", body)), upright.get(orientation, values)


def with_chunk(kind: bytes, body: bytes) -> tuple[bytes, np.ndarray]:
    values = samples(8, 3)
    return png(values, 8, RGB, (kind, body)), values


def webp_case(mode: str, exact: bool) -> tuple[bytes, np.ndarray]:
    values = RNG.integers(0, 256, (5, 7, len(mode))).astype(np.uint8)
    data = saved(Image.fromarray(values), "WEBP", lossless=True, exact=exact)
    return data, on_white(values[..., :3] / 255, values[..., 3:] / 255 if mode == "RGBA" else 1)


def flat_case(width: int, height: int, kind: str) -> tuple[bytes, np.ndarray]:
    colour = (9, 9, 9)
    return saved(Image.new("RGB", (width, height), colour), kind, lossless=True), np.full(
        (height, width, 3), colour
    )


def pixels_that_inflate_beyond_the_picture() -> tuple[bytes, np.ndarray]:
    values = samples(8, 3)
    data = chunk(b"IDAT", zlib.compress(packed(values, 8) + bytes(20_000_000)))
    return header(7, 5) + data + chunk(b"IEND", b""), values


READ: dict[str, Callable[[], tuple[bytes, np.ndarray]]] = {
    **{f"grey of {d} bits": lambda d=d: grey_case(d) for d in (1, 2, 4, 8, 16)},
    **{
        f"grey of {d} bits, a level clear": lambda d=d: grey_with_a_clear_level(d)
        for d in (1, 2, 4, 8, 16)
    },
    **{f"palette of {d} bits": lambda d=d: palette_case(d) for d in (1, 2, 4, 8)},
    "palette, one clear entry": lambda: palette_case(4, alphas=1),
    "palette, ten half clear entries": lambda: palette_case(4, alphas=10),
    "palette, all entries half clear": lambda: palette_case(8, alphas=256),
    "colour of 8 bits": lambda: colour_case(8),
    "colour of 8 bits, one clear": lambda: colour_case(8, clear=True),
    "colour of 16 bits": lambda: colour_case(16),
    "interlaced": lambda: colour_case(8, interlaced=True),
    "interlaced, 16 bits": lambda: colour_case(16, interlaced=True),
    "grey and alpha of 8 bits": lambda: alpha_case(8, GREY_ALPHA),
    "colour and alpha of 8 bits": lambda: alpha_case(8, RGBA),
    "JPEG": jpeg_case,
    "JPEG, progressive": lambda: jpeg_case(progressive=True),
    "JPEG, grey": lambda: (
        saved(halves(7, 201, mode="L"), "JPEG", quality=100),
        beside([7] * 3, [201] * 3),
    ),
    "JPEG with a colour profile": lambda: jpeg_case(
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
    "JPEG of CMYK": cmyk_case,
    "JPEG of CMYK with a colour profile": lambda: cmyk_case(
        icc_profile=b"no profile at all" * 40
    ),
    "JPEG of YCCK": ycck_case,
    "JPEG with 3 bytes after its end": lambda: (jpeg_case()[0] + b"abc", jpeg_case()[1]),
    "WEBP": lambda: webp_case("RGB", False),
    "WEBP with alpha": lambda: webp_case("RGBA", True),
    **{f"EXIF turn {i}": lambda i=i: turned_case(i) for i in range(10)},
    "EXIF turn as a text": lambda: with_chunk(b"eXIf", exif_entry(0x0112, 2, 2, b"6\0\0\0")),
    "EXIF turn as 2**32 - 1": lambda: with_chunk(
        b"eXIf", exif_entry(0x0112, 4, 1, bytes([255] * 4))
    ),
    "EXIF that is not EXIF": lambda: with_chunk(b"eXIf", b"no such thing"),
    "EXIF without bytes": lambda: with_chunk(b"eXIf", b""),
    "EXIF cut short": lambda: with_chunk(b"eXIf", b"II*\0\x08\0\0\0\x09\0\x12\x01"),
    "EXIF that points to itself": lambda: with_chunk(
        b"eXIf", exif_entry(0x8769, 4, 1, struct.pack("<I", 8))
    ),
    "a damaged profile": lambda: with_chunk(b"iCCP", b"p\0\0" + zlib.compress(b"x" * 100)),
    "an unknown chunk": lambda: with_chunk(b"prVt", bytes(1000)),
    "a text of control characters": lambda: with_chunk(b"tEXt", b"k\0\x1b[2J\0\r\n"),
    "1x1": lambda: flat_case(1, 1, "PNG"),
    "1x10000": lambda: flat_case(1, 10_000, "PNG"),
    "10000x1": lambda: flat_case(10_000, 1, "PNG"),
    "1x10000 WEBP": lambda: flat_case(1, 10_000, "WEBP"),
    "pixels that inflate beyond the picture": pixels_that_inflate_beyond_the_picture,
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("make", READ.values(), ids=READ.keys())
def test_the_colours_are_right_within_one_level(make, tmp_path):
    data, wanted = make()
    (tmp_path / "picture").write_bytes(data)
    found = np.asarray(open_image(tmp_path / "picture")).astype(float)
    assert found.shape == (*wanted.shape[:2], 3)
    assert np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("colour", [GREY_ALPHA, RGBA])
def test_16_bits_with_alpha_are_within_two_levels(colour, tmp_path):
    data, wanted = alpha_case(16, colour)
    (tmp_path / "deep.png").write_bytes(data)
    assert np.abs(np.asarray(open_image(tmp_path / "deep.png")) - wanted).max() <= 2


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "txt", "safetensors"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_content_decides_and_not_the_name(kind, suffix, tmp_path):
    (tmp_path / f"a.{suffix}").write_bytes(saved(Image.new("RGB", (8, 8), "white"), kind))
    assert open_image(tmp_path / f"a.{suffix}").getextrema() == ((255, 255),) * 3


def animated(kind: str) -> bytes:
    frames = [Image.new("RGBA", (8, 8), colour) for colour in ("red", "blue", "lime")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)


def two_photos() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    return saved(frames[0], "MPO", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    "data, count, corner",
    [(animated("PNG"), 3, "red"), (animated("WEBP"), 3, "red"), (two_photos(), 2, "white")],
    ids=["APNG", "WEBP", "JPEG with a second picture"],
)
def test_the_first_of_several_pictures_is_taken_with_a_warning(data, count, corner, tmp_path):
    (tmp_path / "moving").write_bytes(data)
    with pytest.warns(UserWarning, match=f"moving holds {count} pictures: the first is taken"):
        image = open_image(tmp_path / "moving")
    assert image.tobytes() == Image.new("RGB", (8, 8), corner).tobytes()


def test_a_warning_of_pillow_reaches_the_caller(tmp_path):
    data, wanted = with_chunk(b"acTL", struct.pack(">II", 0, 0))
    (tmp_path / "a.png").write_bytes(data)
    with pytest.warns(UserWarning, match="Invalid APNG, will use default PNG image"):
        image = open_image(tmp_path / "a.png")
    assert np.array_equal(np.asarray(image), wanted)


def test_threads_that_read_pictures_leave_the_filters_of_warnings_alone(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path in paths:
        Image.effect_noise((300, 300), 90).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(open_image, paths * 8))) == 32
    assert warnings.filters == before


def webp_canvas(side: int) -> bytes:
    image = saved(Image.new("RGB", (8, 8)), "WEBP", lossless=True)[12:]
    three = lambda number: struct.pack("<I", number)[:3]  # noqa: E731
    frame = bytes(6) + three(7) * 2 + three(9) + b"\0" + image
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + three(side - 1) * 2
    body += (
        b"ANIM"
        + struct.pack("<I", 6)
        + bytes(6)
        + b"ANMF"
        + struct.pack("<I", len(frame))
        + frame
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def jpeg_of_size(height: int, width: int) -> bytes:
    data = saved(Image.new("RGB", (8, 8)), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def damaged(kind: str, keep: float) -> bytes:
    data = saved(Image.effect_noise((64, 64), 90).convert("RGB"), kind)
    return data[: int(len(data) * keep)]


def bomb(kind: bytes, before: bytes) -> bytes:
    return with_chunk(kind, before + zlib.compress(bytes(20_000_000)))[0]


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "no bytes": (lambda: b"", "not a picture that can be read"),
    "one byte": (lambda: b"\x89", "not a picture that can be read"),
    "a web page": (lambda: b"<!DOCTYPE html>", "not a picture that can be read"),
    "GIF": (lambda: saved(Image.new("P", (8, 8)), "GIF"), "not a picture that can be read"),
    "animated GIF": (lambda: animated("GIF"), "not a picture that can be read"),
    "BMP": (lambda: saved(Image.new("RGB", (8, 8)), "BMP"), "not a picture that can be read"),
    "TIFF": (lambda: saved(Image.new("RGB", (8, 8)), "TIFF"), "not a picture that can be read"),
    "AVIF": (
        lambda: b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
        "not a picture that can be read",
    ),
    "EPS": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture that can be read"),
    "PSD": (lambda: b"8BPS\0\1" + bytes(100), "not a picture that can be read"),
    "a PNG's first bytes": (lambda: b"\x89PNG\r\n\x1a\n", "not a picture that can be read"),
    "a WEBP without content": (lambda: b"RIFF\4\0\0\0WEBP", "not a picture that can be read"),
    **{
        f"{kind}, {keep:.0%} of it": (
            lambda kind=kind, keep=keep: damaged(kind, keep),
            "picture|damaged",
        )
        for kind in ("PNG", "JPEG", "WEBP")
        for keep in (0.02, 0.5, 0.95)
    },
    "PNG of size 0": (lambda: header(0, 8), "picture|damaged"),
    "PNG without pixels": (lambda: header(8, 8) + chunk(b"IEND", b""), "damaged"),
    "PNG with a wrong checksum": (lambda: damaged("PNG", 1)[:-20] + bytes(20), "damaged"),
    "PNG that says 20000x20000": (
        lambda: header(20_000, 20_000) + chunk(b"IDAT", b""),
        "too large",
    ),
    "PNG that says 4097x4096": (
        lambda: header(4097, 4096) + chunk(b"IDAT", b""),
        "4097x4096.*max_pixels",
    ),
    "PNG that says 2**31 a side": (
        lambda: header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", b""),
        "too large",
    ),
    "PNG of 65537x1": (lambda: header(65_537, 1) + chunk(b"IDAT", b""), "65,536 pixels a side"),
    "JPEG that says 65535x65535": (lambda: jpeg_of_size(65_535, 65_535), "too large"),
    # Pillow itself would only warn; a warning is an error here.
    "PNG of 95 million pixels": (
        lambda: header(9_500, 10_000) + chunk(b"IDAT", b""),
        "too large: 9500x10000",
    ),
    "JPEG of 95 million pixels": (lambda: jpeg_of_size(9_500, 10_000), "too large: 10000x9500"),
    "WEBP of 94 million pixels": (lambda: webp_canvas(9_700), "too large: 9700x9700"),
    "JPEG of size 0": (lambda: jpeg_of_size(0, 0), "picture|damaged|empty"),
    "WEBP that says 16383x16383": (lambda: webp_canvas(16_383), "too large"),
    "WEBP that says 2**24 a side": (lambda: webp_canvas(2**24), "picture|damaged|too large"),
    "zTXt bomb": (lambda: bomb(b"zTXt", b"k\0\0"), "damaged"),
    "iTXt bomb": (lambda: bomb(b"iTXt", b"k\0\1\0\0\0"), "damaged"),
    "iCCP bomb": (lambda: bomb(b"iCCP", b"k\0\0"), "damaged"),
    "16-bit colours, one clear": (
        lambda: colour_case(16, clear=True)[0],
        "save it with 8 bits",
    ),
    "a chunk that says 2 GiB": (
        lambda: header(8, 8) + struct.pack(">I", 2**31 - 1) + b"prVt",
        "holds more",
    ),
}


def refusal(path: object, message: str) -> str:
    with pytest.raises(ImageError, match=message) as error:
        open_image(path)
    text = str(error.value)
    assert text.isprintable() and len(text) < 600
    return text


@pytest.mark.parametrize("make, message", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_used_is_one_line(make, message, tmp_path):
    (tmp_path / "given.bin").write_bytes(make())
    assert "given.bin" in refusal(tmp_path / "given.bin", message)


def fifo(folder: Path) -> object:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def unix_socket(folder: Path) -> object:
    before = Path.cwd()
    os.chdir(folder)  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    os.chdir(before)
    return folder / "socket.png"


def link(target: str) -> Callable[[Path], object]:
    def make(folder: Path) -> object:
        (folder / "link.png").symlink_to(target)
        return folder / "link.png"

    return make


PATHS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pipe": (fifo, "is not a file"),
    "a socket": (unix_socket, "is not a file"),
    "a device": (lambda folder: "/dev/zero", "is not a file"),
    "a folder": (lambda folder: folder, "is not a file"),
    "a link to a device": (link("/dev/zero"), "is not a file"),
    "a link to nothing": (link("none"), "does not exist"),
    "a link to itself": (link("link.png"), "cannot be opened"),
    "nothing there": (lambda folder: folder / "none.png", "does not exist"),
    "no name": (lambda folder: "", "does not exist"),
    "a NUL": (lambda folder: "a\0b.png", r"a\\x00b\.png cannot be opened"),
    "a line break": (lambda folder: "a\nb.png", r"a\\nb\.png does not exist"),
    "a terminal code": (lambda folder: "\x1b[2J.png", r"\\x1b\[2J\.png does not exist"),
    "half a surrogate pair": (lambda folder: "\ud800.png", "cannot be opened"),
    "too long": (lambda folder: "x" * 300, "cannot be opened"),
    "below a file": (lambda folder: Path(__file__) / "a.png", "does not exist"),
}


@pytest.mark.parametrize("make, message", PATHS.values(), ids=PATHS.keys())
def test_a_path_without_a_picture_is_one_line(make, message, tmp_path):
    refusal(make(tmp_path), message)


def test_a_link_to_a_picture_is_followed(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert open_image(link("a.png")(tmp_path)).size == (8, 8)


def premultiplied(mode: str) -> Image.Image:
    return Image.new(
        mode.upper(), (2, 1), (100, 128) if mode == "La" else (100, 50, 20, 128)
    ).convert(mode)


def short_palette() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30])
    image.info["transparency"] = 0
    return image


IMAGES: dict[str, tuple[Callable[[], Image.Image], tuple[int, int, int]]] = {
    "La": (lambda: premultiplied("La"), (177, 177, 177)),
    "RGBa": (lambda: premultiplied("RGBa"), (177, 152, 137)),
    "LA": (lambda: Image.new("LA", (2, 1), (100, 128)), (177, 177, 177)),
    "PA": (lambda: Image.new("RGBA", (2, 1), (100, 1, 2, 0)).convert("PA"), (255, 255, 255)),
    "a short palette": (short_palette, (255, 255, 255)),
    "I;16B": (lambda: Image.frombytes("I;16B", (1, 1), b"\x80\x00"), (128, 128, 128)),
    "I, below the range": (lambda: Image.new("I", (2, 1), -5), (0, 0, 0)),
    "I, above the range": (lambda: Image.new("I", (2, 1), 10**6), (255, 255, 255)),
    "HSV": (lambda: Image.new("RGB", (2, 1), "red").convert("HSV"), (255, 0, 0)),
    "LAB": (lambda: Image.new("LAB", (2, 1), (255, 128, 128)), (255, 255, 255)),
    "YCbCr": (lambda: Image.new("RGB", (2, 1), "white").convert("YCbCr"), (255, 255, 255)),
    "RGBX": (lambda: Image.new("RGBX", (2, 1), (1, 2, 3, 0)), (1, 2, 3)),
}


@pytest.mark.parametrize("make, colour", IMAGES.values(), ids=IMAGES.keys())
def test_a_pil_image_of_a_rare_mode_has_the_right_colour(make, colour):
    found = np.asarray(open_image(make())).astype(int)
    assert np.abs(found - colour).max() <= 1


def test_floating_point_pixels_are_refused_since_their_range_is_unknown():
    refusal(Image.new("F", (2, 1)), "without a stated range")


def test_an_image_whose_file_was_closed_is_one_line(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pass
    refusal(image, "the image is damaged")


def test_more_pixels_are_read_when_the_caller_asks_for_it(tmp_path):
    Image.new("1", (4097, 4096)).save(tmp_path / "wide.png")
    opened = open_image(tmp_path / "wide.png", max_pixels=4097 * 4096)
    assert opened.size == (4097, 4096)
    assert (
        load_mask(opened, opened.size).size == opened.size
    )  # it is in memory: no second question


def test_the_limit_holds_for_tensors_too(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert load_img(tmp_path / "a.png", max_pixels=64).shape == (1, 3, 8, 8)
    with pytest.raises(
        ImageError, match="8x8 pixels; make it smaller, at most 63, or raise max_pixels"
    ):
        load_img(tmp_path / "a.png", max_pixels=63)


def test_the_limit_is_a_square_of_4096():
    assert MAX_PIXELS == 4096 * 4096 == 16_777_216


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "64", None])
def test_a_wrong_limit_is_one_line(limit, tmp_path):
    with pytest.raises(ImageError, match="max_pixels is"):
        unwrap(read_picture)(tmp_path / "a.png", max_pixels=limit)


def test_an_image_that_is_not_loaded_yet_is_limited_like_a_file(tmp_path):
    (tmp_path / "a.png").write_bytes(header(4097, 4096) + chunk(b"IDAT", b""))
    with Image.open(tmp_path / "a.png") as image:
        refusal(image, "the image is too large: 4097x4096")


@pytest.mark.parametrize("value", [0, 1, 127, 255])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_a_mask_of_any_mode_keeps_its_grey(mode, value):
    mask = Image.new("L", (3, 2), value)
    wanted = 255 * (value > 127) if mode == "1" else value
    deep = mask.point(lambda v: v * 257, "I").convert("I;16")
    given = deep if mode == "I;16" else mask.convert(mode, dither=Image.Dither.NONE)
    found = load_mask(given, (3, 2))
    assert found.mode == "L" and np.abs(np.asarray(found).astype(int) - wanted).max() <= 1


sides = st.integers(1, 40)


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(st.sampled_from(["1", "L", "LA", "RGB", "RGBA", "CMYK"]), sides, sides, sides, sides)
def test_a_mask_must_have_the_pictures_size(mode, width, height, wide, tall):
    mask = Image.new(mode, (width, height))
    if (width, height) == (wide, tall):
        assert load_mask(mask, (wide, tall)).size == (wide, tall)
        return
    with pytest.raises(
        ImageError, match=f"mask is {width}x{height} and the picture {wide}x{tall}"
    ):
        load_mask(mask, (wide, tall))


@cache
def sound() -> list[bytes]:
    small = [make()[0] for name, make in READ.items() if not name.startswith(("1", "pixels"))]
    return [*small, animated("PNG"), animated("WEBP")]


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, derandomize=True, database=None, max_examples=300)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=5)), max_size=4),
)
def test_a_picture_with_wrong_bytes_is_read_or_is_one_line(tmp_path_factory, which, changes):
    data = bytearray(sound()[which % len(sound())])
    for place, wrong in changes:
        at = int(place * len(data))
        data[at : at + len(wrong)] = wrong
    path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(data)
    try:
        assert open_image(path).mode == "RGB"
    except ImageError as error:
        assert str(error).isprintable()
