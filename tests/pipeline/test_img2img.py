import hashlib

import pytest
import torch
from PIL import Image

from labml_sd.errors import GenerationError, ImageError
from labml_sd.images.tensors import load_img, pad_to_multiple, to_pil
from labml_sd.pipeline import img2img
from labml_sd.pipeline.parameters import read_parameters

QUICK = {"steps": 4, "progress": False}


def bits(images):
    return [image.tobytes() for image in images]


def round_trip(model, image):
    z = model.encode_image(pad_to_multiple(load_img(image), 16))
    return to_pil(model.decode_latent(z)[..., : image.height, : image.width])


@pytest.mark.holds("fact: strength-0")
@pytest.mark.parametrize("size", [(32, 32), (45, 27), (5, 3)])
def test_strength_0_is_the_autoencoders_round_trip_exactly(model, photo, size):
    images = img2img(model, "a house", photo(*size), strength=0, **QUICK)
    assert bits(images) == bits(round_trip(model, photo(*size)))


def test_strength_0_samples_nothing(model, photo):
    seen = []
    img2img(model, "a house", photo(32, 32), strength=0, on_step=seen.append, **QUICK)
    assert seen == []


@pytest.mark.parametrize("strength, n_run", [(1, 4), (0.75, 3), (0.7, 2), (0.5, 2), (0.01, 1)])
def test_strength_says_how_many_of_the_steps_run(model, photo, strength, n_run):
    seen = []
    img2img(model, "a house", photo(32, 32), strength=strength, on_step=seen.append, **QUICK)
    assert len(seen) == n_run


class Seen(Exception):
    """Carries the first latent that a network is given."""


def first_latent(model, monkeypatch, image, strength, seed=0):
    """(x, t) of the network's first call."""

    def stop(x, t, c):
        raise Seen(x, int(t[0]))

    monkeypatch.setattr(model.unet, "forward", stop)
    with pytest.raises(Seen) as seen:
        img2img(model, "a house", image, strength=strength, seed=seed, **QUICK)
    return seen.value.args


@pytest.mark.holds("labml_sd.pipeline.img2img.img2img", "fact: img2img-level")
@pytest.mark.parametrize("strength, t", [(1.0, 999), (0.5, 499)])
def test_the_image_is_noised_to_the_level_of_the_first_step(
    make_model, photo, monkeypatch, strength, t
):
    model = make_model()
    x, first_t = first_latent(model, monkeypatch, photo(32, 32), strength)
    z = model.encode_image(load_img(photo(32, 32)))
    noise = torch.randn(z.shape[1:], generator=torch.Generator().manual_seed(0))[None]
    alpha_bar = model.schedule.alpha_bar[t]
    assert first_t == t
    torch.testing.assert_close(
        x, (alpha_bar.sqrt() * z + (1 - alpha_bar).sqrt() * noise).to(torch.float32)
    )


@pytest.mark.holds("fact: strength-1")
def test_at_strength_1_a_trace_of_the_image_is_left(make_model, photo, monkeypatch):
    model = make_model()
    images = [photo(32, 32), Image.new("RGB", (32, 32), "blue")]
    starts = [first_latent(model, monkeypatch, image, 1.0)[0] for image in images]
    latents = [model.encode_image(load_img(image)) for image in images]
    ratio = (starts[0] - starts[1]).norm() / (latents[0] - latents[1]).norm()
    torch.testing.assert_close(ratio, torch.tensor(0.0683), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(32, 32), (45, 27), (100, 75), (1, 1)])
def test_a_picture_keeps_its_size(model, photo, size):
    assert img2img(model, "a house", photo(*size), **QUICK)[0].size == size


@pytest.mark.parametrize(
    "options, size",
    [
        ({"height": 20}, (40, 20)),
        ({"width": 20}, (20, 10)),
        ({"height": 9, "width": 17}, (17, 9)),
    ],
)
def test_height_and_width_resize_it_first(model, photo, options, size):
    assert img2img(model, "a house", photo(40, 20), **options, **QUICK)[0].size == size


def test_a_path_serves_as_well_as_an_image(model, photo, tmp_path):
    photo(32, 32).save(tmp_path / "a.png")
    from_path = img2img(model, "a house", tmp_path / "a.png", **QUICK)
    assert bits(from_path) == bits(img2img(model, "a house", photo(32, 32), **QUICK))


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp_2m"])
def test_an_image_depends_on_its_seed_and_not_on_its_neighbours(model, photo, sampler):
    def last(**options):
        seen = []
        img2img(
            model, image=photo(32, 32), sampler=sampler, on_step=seen.append, **options, **QUICK
        )
        return seen[-1].x

    together = last(prompt=["a boat", "a house"], seed=10)
    alone = last(prompt="a house", seed=11)
    torch.testing.assert_close(
        alone, together[1:], rtol=0, atol=1e-5 * float(together.abs().max())
    )


def test_the_parameters_tell_strength_and_input(model, photo):
    image = photo(45, 27)
    p = read_parameters(img2img(model, "a house", image, strength=0.5, **QUICK)[0])
    assert (p.task, p.strength, p.width, p.height, p.mask_sha256) == (
        "img2img",
        0.5,
        45,
        27,
        None,
    )
    assert p.init_image_sha256 == hashlib.sha256(b"RGB 45x27 " + image.tobytes()).hexdigest()


OPTIONS = {
    "guidance_rescale": 0.7,
    "guidance_interval": (0.5, 2.0),
    "variation_seed": 8,
    "variation_strength": 0.3,
    "noise": "cuda",
}


@pytest.mark.parametrize(
    "name", ["guidance_rescale", "guidance_interval", "variation_strength", "noise"]
)
def test_guidance_noise_and_variation_count_here_too_and_are_recorded(model, photo, name):
    others = {key: value for key, value in OPTIONS.items() if key != name}
    with_all = img2img(model, "a house", photo(32, 32), **OPTIONS, **QUICK)
    without = img2img(model, "a house", photo(32, 32), **others, **QUICK)
    assert bits(with_all) != bits(without)
    p = read_parameters(with_all[0])
    assert {key: getattr(p, key) for key in OPTIONS} == OPTIONS


@pytest.mark.parametrize(
    "image, options, error, message",
    [
        ("missing.png", {}, ImageError, "does not exist"),
        (Image.new("RGB", (0, 4)), {}, ImageError, "empty"),
        (Image.new("RGB", (4, 4)), {"strength": 1.5}, GenerationError, "strength is 1.5"),
        (Image.new("RGB", (4, 4)), {"height": 0}, GenerationError, "height is 0"),
        (Image.new("RGB", (4, 4)), {"width": -4}, GenerationError, "width is -4"),
    ],
)
def test_a_wrong_argument_is_one_line(model, image, options, error, message):
    with pytest.raises(error, match=message) as caught:
        img2img(model, "a house", image, **options, **QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "compat, n_run", [(None, 2), ("compvis", 2), ("labml", 2), ("diffusers", 2), ("a1111", 1)]
)
def test_with_compat_as_many_steps_run_as_in_the_tool(model, photo, compat, n_run):
    seen = []
    options = {"sampler": "ddim", "compat": compat, "strength": 0.5, "on_step": seen.append}
    (image,) = img2img(model, "a house", photo(32, 32), **options, **QUICK)
    assert (len(seen), read_parameters(image).compat) == (n_run, compat)


@pytest.mark.parametrize("strength", [0.01, 1])
@pytest.mark.parametrize("compat", ["compvis", "labml", "diffusers", "a1111"])
def test_no_strength_is_an_error_with_compat(model, photo, compat, strength):
    (image,) = img2img(
        model,
        "a house",
        photo(32, 32),
        sampler="ddim",
        compat=compat,
        strength=strength,
        **QUICK,
    )
    assert image.size == (32, 32)
