"""The bundled embedding: what its card says, as far as a few pictures show it."""

from pathlib import Path

import numpy as np
import pytest
from marks import slow

import labml_sd as sd

FOLDER = Path(sd.__file__).parent / "models" / "embeddings"
FILE = FOLDER / "toy.safetensors"


def test_it_is_small_and_fits_the_bundled_model():
    (embedding,) = sd.load_embedding(FILE)
    assert embedding.name == "<toy>"
    assert embedding.vectors.shape == (2, 128)
    assert FILE.stat().st_size < 10_000
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert embedding.hash in card


def purple(image) -> float:
    """The share of the pixels that are purple."""
    red, green, blue = np.moveaxis(np.asarray(image).astype(int), -1, 0)
    is_purple = (blue - green > 60) & (red - green > 40) & (blue > 110) & (red < 190)
    return float(is_purple.mean())


@pytest.mark.parametrize("place", ["in the snow at night", *slow("in the snow by day")])
def test_the_word_draws_a_purple_thing_and_only_with_the_file(place):
    model = sd.load_model(device="cpu")
    call = {"n_images": 4, "seed": 3, "progress": False}
    with_it = sd.txt2img(model, f"a <toy> {place}", embeddings=[FILE], **call)
    without = sd.txt2img(model, f"a cat {place}", **call)
    assert sum(purple(image) > 0.005 for image in with_it) >= 3
    assert sum(purple(image) > 0.005 for image in without) <= 1
