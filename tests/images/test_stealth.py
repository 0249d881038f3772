import gzip
import json

import numpy as np
import pytest
from PIL import Image

from labml_sd.images.json_text import MAX_JSON
from labml_sd.images.stealth import stealth_texts
from labml_sd.images.tensors import save_images
from labml_sd.images.texts import texts_of

TEXT = (
    "a red house, дом\nNegative prompt: snow\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 64x96"
)
NOVELAI = {"Software": "NovelAI", "Description": "a house", "Comment": '{"steps": 28}'}


def hidden(mode: str, signature: str, content: bytes, n_bits: int | None = None) -> Image.Image:
    """A picture with a text in its lowest bits, written bit by bit."""
    n_bits = 8 * len(content) if n_bits is None else n_bits
    message = signature.encode() + n_bits.to_bytes(4) + content
    bits = [byte >> i & 1 for byte in message for i in reversed(range(8))]
    values = np.random.default_rng(0).integers(0, 256, (96, 64, len(mode)), dtype=np.uint8)
    places = [
        (row, column, channel)
        for column in range(64)
        for row in range(96)
        for channel in (range(3) if "rgb" in signature else [3])
    ]
    for place, bit in zip(places, bits, strict=False):
        values[place] = values[place] & 0xFE | bit
    return Image.fromarray(values, mode)


@pytest.mark.parametrize(
    "mode, signature",
    [
        ("RGBA", "stealth_pnginfo"),
        ("RGBA", "stealth_pngcomp"),
        ("RGB", "stealth_rgbinfo"),
        ("RGB", "stealth_rgbcomp"),
        ("RGBA", "stealth_rgbcomp"),
    ],
)
def test_a_hidden_text_is_read(mode, signature):
    content = gzip.compress(TEXT.encode()) if "comp" in signature else TEXT.encode()
    assert stealth_texts(hidden(mode, signature, content)) == {"parameters": TEXT}


def test_an_object_of_texts_has_the_names_of_its_own():
    content = gzip.compress(json.dumps(NOVELAI).encode())
    assert stealth_texts(hidden("RGBA", "stealth_pngcomp", content)) == NOVELAI


def test_a_hidden_text_is_found_in_a_file_and_kept_in_any_format(tmp_path):
    image = hidden("RGBA", "stealth_pnginfo", TEXT.encode())
    image.save(tmp_path / "a.png")
    assert texts_of(Image.open(tmp_path / "a.png")) == {"parameters": TEXT}
    (path,) = save_images([image.convert("RGB")], tmp_path, img_format="jpg")
    assert texts_of(Image.open(path)) == {}  # the opacity is gone, and the text with it
    (path,) = save_images([image], tmp_path, img_format="webp")
    assert texts_of(Image.open(path)) == {"parameters": TEXT}


def test_a_text_that_is_not_hidden_has_priority():
    image = hidden("RGBA", "stealth_pnginfo", TEXT.encode())
    image.info["parameters"] = "another"
    assert texts_of(image) == {"parameters": "another"}


NOTHING = {
    "another signature": hidden("RGBA", "stealth_pngwhat", TEXT.encode()),
    "no gzip": hidden("RGBA", "stealth_pngcomp", b"no gzip at all"),
    "a gzip cut short": hidden("RGBA", "stealth_pngcomp", gzip.compress(TEXT.encode())[:-9]),
    "an empty gzip": hidden("RGBA", "stealth_pngcomp", b""),
    "1x1": Image.new("RGBA", (1, 1)),
    "one row": Image.new("RGB", (999, 1)),
    "one column": Image.new("RGB", (1, 999)),
    "no pixels": Image.new("RGBA", (0, 5)),
    "no rows": Image.new("RGBA", (5, 0)),
    "grey": Image.new("L", (64, 64)),
    "a palette": Image.new("P", (64, 64)),
    "floats": Image.new("F", (64, 64)),
}


@pytest.mark.parametrize("image", NOTHING.values(), ids=NOTHING)
def test_a_picture_that_hides_nothing_readable_has_no_texts(image):
    assert {k: v for k, v in stealth_texts(image).items() if v} == {}


@pytest.mark.parametrize("n_bits", [0, 1, 7, 8, 2**31 - 1, 2**32 - 1])
def test_any_length_is_read_as_far_as_there_are_bits(n_bits):
    (text,) = stealth_texts(hidden("RGBA", "stealth_pnginfo", b"a house", n_bits)).values()
    assert text.startswith("a house"[: n_bits // 8]) and len(text) <= 96 * 64 // 8


def test_a_gzip_bomb_is_not_unfolded():
    bomb = gzip.compress(bytes(MAX_JSON + 1))  # 4 kB
    message = b"stealth_pngcomp" + (8 * len(bomb)).to_bytes(4) + bomb
    alpha = np.zeros(400 * 400, np.uint8)
    alpha[: 8 * len(message)] = np.unpackbits(np.frombuffer(message, np.uint8))
    values = np.zeros((400, 400, 4), np.uint8)
    values[..., 3] = alpha.reshape(400, 400).T
    assert stealth_texts(Image.fromarray(values)) == {}
