import numpy as np
import pytest
import torch
from PIL import Image

from labml_sd.errors import GenerationError, ImageError
from labml_sd.images.tensors import load_img, pad_to_multiple
from labml_sd.pipeline import img2img, inpaint
from labml_sd.pipeline.parameters import read_parameters

QUICK = {"steps": 3, "progress": False}


def half_mask(width, height, value=255):
    mask = Image.new("L", (width, height))
    mask.paste(value, (width // 2, 0, width, height))
    return mask


@pytest.mark.holds("fact: kept-pixels")
@pytest.mark.parametrize(
    "size, sampler",
    [((32, 32), "ddpm"), ((32, 32), "ddim"), ((100, 75), "dpmpp_2m"), ((7, 5), "dpmpp_2m")],
)
def test_kept_pixels_are_bit_equal_at_any_size_and_the_others_are_repainted(
    model, photo, size, sampler
):
    image, mask = photo(*size), half_mask(*size)
    (painted,) = inpaint(model, "a house", image, mask, sampler=sampler, **QUICK)
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(painted)[kept], np.asarray(image)[kept])
    assert (np.asarray(painted)[~kept] != np.asarray(image)[~kept]).any(axis=-1).mean() > 0.8


@pytest.mark.holds("fact: kept-pixels")
@pytest.mark.parametrize("strength", [0, 0.4, 1])
def test_kept_pixels_are_bit_equal_at_any_strength(model, photo, strength):
    image, mask = photo(45, 27), half_mask(45, 27)
    (painted,) = inpaint(model, "a house", image, mask, strength=strength, **QUICK)
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(painted)[kept], np.asarray(image)[kept])


def test_a_black_mask_returns_the_input(model, photo):
    (painted,) = inpaint(model, "a house", photo(45, 27), Image.new("L", (45, 27)), **QUICK)
    assert painted.tobytes() == photo(45, 27).tobytes()


def test_grey_blends_linearly_between_input_and_repainting(model, photo):
    image = photo(45, 27)
    # Both masks paint every cell, so the repainting is the same and only the blend differs.
    white, grey = (Image.new("L", (45, 27), v) for v in (255, 51))
    full = np.asarray(inpaint(model, "a house", image, white, **QUICK)[0]).astype(float)
    part = np.asarray(inpaint(model, "a house", image, grey, **QUICK)[0]).astype(float)
    expected = np.asarray(image) + 0.2 * (full - np.asarray(image))
    assert np.abs(part - expected).max() <= 0.5


@pytest.mark.holds("fact: inpaint-start")
def test_at_strength_1_the_painted_area_knows_nothing_of_what_was_there(model, photo):
    mask = Image.new("L", (32, 32), 255)
    drawn = [
        inpaint(model, "a house", i, mask, **QUICK)[0]
        for i in (photo(32, 32), Image.new("RGB", (32, 32)))
    ]
    assert drawn[0].tobytes() == drawn[1].tobytes()


@pytest.mark.holds("fact: inpaint-start")
def test_at_strength_1_the_painted_area_starts_from_pure_noise(model, photo):
    seen = []
    inpaint(
        model, "a house", photo(32, 32), half_mask(32, 32), seed=4, on_step=seen.append, **QUICK
    )
    # What the first step started from, of what the network made of it.
    alpha_bar = model.schedule.alpha_bar[int(seen[0].t)]
    start = alpha_bar.sqrt() * seen[0].x0 + (1 - alpha_bar).sqrt() * seen[0].eps
    noise = torch.randn(seen[0].x.shape[1:], generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(start[0, ..., 2:].float(), noise[..., 2:], rtol=0, atol=1e-4)


def test_below_strength_1_a_white_mask_is_img2img(model, photo):
    mask = Image.new("L", (32, 32), 255)
    painted = inpaint(model, "a house", photo(32, 32), mask, strength=0.7, **QUICK)
    drawn = img2img(model, "a house", photo(32, 32), strength=0.7, **QUICK)
    assert painted[0].tobytes() == drawn[0].tobytes()


@pytest.mark.holds("fact: inpaint-level")
@pytest.mark.parametrize("strength", [0.7, 1])
def test_the_kept_area_is_always_at_the_noise_level_just_reached(model, photo, strength):
    seen = []
    image, mask = photo(32, 32), half_mask(32, 32)
    inpaint(
        model,
        "a house",
        image,
        mask,
        strength=strength,
        seed=4,
        steps=5,
        on_step=seen.append,
        progress=False,
    )
    z = model.encode_image(pad_to_multiple(load_img(image), 16))
    noise = torch.randn(z.shape[1:], generator=torch.Generator().manual_seed(4))[None]
    reached = [*(int(step.t) for step in seen[1:]), None]
    for step, t in zip(seen, reached, strict=True):
        alpha_bar = torch.tensor(1.0) if t is None else model.schedule.alpha_bar[t]
        expected = (alpha_bar.sqrt() * z + (1 - alpha_bar).sqrt() * noise).to(torch.float32)
        torch.testing.assert_close(step.x[..., :2], expected[..., :2])


def test_mask_and_picture_are_resized_together(model, photo):
    (painted,) = inpaint(model, "a house", photo(64, 48), half_mask(64, 48), height=24, **QUICK)
    resized = photo(64, 48).resize((32, 24), Image.Resampling.LANCZOS)
    assert painted.size == (32, 24)
    assert np.array_equal(np.asarray(painted)[:, :14], np.asarray(resized)[:, :14])


def test_the_turn_of_a_photo_is_applied_before_the_mask_is_laid_on_it(model, photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(40, 24).save(tmp_path / "turned.png", exif=exif.tobytes())
    (painted,) = inpaint(
        model, "a house", tmp_path / "turned.png", Image.new("L", (24, 40)), **QUICK
    )
    assert painted.tobytes() == photo(40, 24).transpose(Image.Transpose.ROTATE_270).tobytes()


def test_several_pictures_differ_where_they_are_painted(model, photo):
    drawn = inpaint(model, "a house", photo(32, 32), half_mask(32, 32), n_images=2, **QUICK)
    assert drawn[0].tobytes() != drawn[1].tobytes()


def test_guidance_noise_and_variation_count_here_too_and_are_recorded(model, photo):
    options = {
        "guidance_rescale": 0.7,
        "guidance_interval": (0.5, 2.0),
        "variation_seed": 8,
        "variation_strength": 0.3,
        "noise": "cuda",
    }
    drawn = {}
    for left_out in (
        None,
        "guidance_rescale",
        "guidance_interval",
        "variation_strength",
        "noise",
    ):
        given = {k: v for k, v in options.items() if k != left_out}
        (drawn[left_out],) = inpaint(
            model, "a house", photo(32, 32), half_mask(32, 32), **given, **QUICK
        )
    assert len({image.tobytes() for image in drawn.values()}) == len(drawn)
    p = read_parameters(drawn[None])
    assert {key: getattr(p, key) for key in options} == options


def test_the_parameters_tell_image_and_mask(model, photo):
    p = read_parameters(inpaint(model, "a house", photo(32, 32), half_mask(32, 32), **QUICK)[0])
    assert (p.task, p.strength) == ("inpaint", 1.0)
    assert p.init_image_sha256 != p.mask_sha256 and len(p.mask_sha256) == 64


def test_a_mask_of_another_size_is_one_line_that_names_both(model, photo):
    with pytest.raises(ImageError, match="mask is 32x31 and the picture 32x32") as error:
        inpaint(model, "a house", photo(32, 32), half_mask(32, 31), **QUICK)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("strength", [0.5, 1])
@pytest.mark.parametrize("compat", ["compvis", "labml", "diffusers", "a1111"])
def test_with_compat_kept_pixels_are_kept_and_the_tool_is_recorded(
    model, photo, compat, strength
):
    image = photo(32, 32)
    options = {"sampler": "ddim", "compat": compat, "strength": strength}
    (painted,) = inpaint(model, "a house", image, half_mask(32, 32), **options, **QUICK)
    (plain,) = inpaint(
        model, "a house", image, half_mask(32, 32), **{**options, "compat": None}, **QUICK
    )
    kept = np.asarray(half_mask(32, 32).convert("L")) == 0
    assert np.array_equal(np.asarray(painted)[kept], np.asarray(image)[kept])
    assert painted.tobytes() != plain.tobytes()
    assert read_parameters(painted).compat == compat


def painted(model, photo, **settings):
    mask = Image.new("L", (32, 32))
    mask.paste(255, (8, 8, 24, 24))
    run = {"steps": 4, "seed": 5, "progress": False, **settings}
    (image,) = inpaint(model, "a", photo(32, 32), mask, **run)
    return np.asarray(image, int), np.asarray(photo(32, 32), int), np.asarray(mask)


@pytest.mark.parametrize("fill", ["fill", "noise", "nothing"])
def test_what_is_in_the_hole_matters_below_strength_1_and_not_at_1(model, photo, fill):
    for strength, same in ((0.5, False), (1.0, fill != "fill")):
        plain, *_ = painted(model, photo, strength=strength)
        other, image, mask = painted(model, photo, strength=strength, fill=fill)
        assert np.array_equal(other, plain) == same
        assert np.array_equal(other[mask == 0], image[mask == 0])


def test_a_blurred_mask_blends_at_its_edge(model, photo):
    sharp, image, mask = painted(model, photo)
    soft, *_ = painted(model, photo, mask_blur=2)
    edge = np.zeros_like(mask, bool)
    edge[10:22, 5:8] = True
    assert np.array_equal(sharp[edge], image[edge])
    assert not np.array_equal(soft[edge], image[edge])
    assert np.array_equal(soft[0], image[0])  # far away, nothing changes


def test_only_the_masked_part_is_worked_on(model, photo):
    mask, sizes = Image.new("L", (64, 96)), []
    mask.paste(255, (40, 60, 50, 70))
    image = photo(64, 96)
    (done,) = inpaint(
        model, "a", image, mask, steps=2, only_masked=4, progress=False,
        on_step=lambda step: sizes.append(tuple(step.x.shape[2:])),
    )  # fmt: skip
    factor = model.config.autoencoder.downsampling_factor
    assert set(sizes) == {(model.config.image_size // factor,) * 2}
    kept = np.asarray(mask) == 0
    assert done.size == image.size
    assert np.array_equal(np.asarray(done)[kept], np.asarray(image)[kept])
    assert not np.array_equal(np.asarray(done)[~kept], np.asarray(image)[~kept])
    assert "Masked area padding: 4" in done.info["parameters"]


@pytest.mark.parametrize(
    ("setting", "value"), [("fill", "grey"), ("mask_blur", -1), ("only_masked", -3)]
)
def test_a_setting_of_the_mask_out_of_range_is_refused(model, photo, setting, value):
    with pytest.raises(GenerationError, match=f"{setting} is"):
        painted(model, photo, **{setting: value})
