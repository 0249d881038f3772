"""A caller's torch.set_default_device is for the caller's own tensors.

The default of these tests is the meta device, where numbers cannot be read: a tensor that is
made on the default device by mistake ends the run.
"""

import numpy as np
import pytest
import torch
from PIL import Image

import labml_sd as sd
from labml_sd.autoencoder import GaussianPosterior
from labml_sd.sampler import SAMPLERS


def drawn(model, **settings):
    """A picture of each pipeline, padded to the networks' sizes, as arrays."""
    picture = Image.effect_mandelbrot((20, 17), (-2, -2, 2, 2), 50).convert("RGB")
    mask = Image.new("L", picture.size, 255)
    options = {"steps": 2, "progress": False, **settings}
    images = [
        *sd.txt2img(model, "a house", **options),
        *sd.img2img(model, "a house", picture, **options),
        *sd.inpaint(model, "a house", picture, mask, **options),
    ]
    return [np.asarray(image) for image in images]


@pytest.mark.parametrize("fast", [False, True], ids=["annotated", "accelerated"])
def test_pictures_do_not_depend_on_the_default_device(model, monkeypatch, fast):
    monkeypatch.setattr(model, "fast", fast)
    with torch.device("meta"):
        inside = drawn(model)
    for one, other in zip(inside, drawn(model), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_sampler_depends_on_the_default_device(model, sampler):
    with torch.device("meta"):
        (inside,) = sd.txt2img(model, "a house", steps=3, sampler=sampler, progress=False)
    (outside,) = sd.txt2img(model, "a house", steps=3, sampler=sampler, progress=False)
    assert inside.tobytes() == outside.tobytes()


def test_a_model_is_loaded_where_it_was_asked_for():
    with torch.device("meta"):
        model = sd.load_model(device="cpu")
        (inside,) = sd.txt2img(model, "a house", steps=1, progress=False)
    (outside,) = sd.txt2img(sd.load_model(device="cpu"), "a house", steps=1, progress=False)
    assert inside.tobytes() == outside.tobytes()


def test_a_draw_of_the_posterior_is_on_its_own_device():
    moments = torch.zeros(1, 8, 2, 2)
    generator = torch.Generator(device="cpu").manual_seed(0)
    posterior = GaussianPosterior(moments)
    with torch.device("meta"):
        assert posterior.sample(generator).device.type == "cpu"
