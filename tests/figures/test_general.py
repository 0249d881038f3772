import numpy as np
import pytest
import torch
from pictures import opened, pixels, where
from PIL import Image

from labml_sd.figures import (
    animation,
    curves,
    data_flow,
    heat_maps,
    learning_curve,
    saved_picture,
)
from labml_sd.figures.picture import from_image
from labml_sd.training.progress import smoothed

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def flat(colour, size=(64, 32)):
    return Image.new("RGB", size, colour)


def test_a_picture_is_a_png_that_says_how_wide_it_is_shown():
    picture = from_image(flat(RED))
    png, metadata = picture._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert metadata == {"width": 32}  # CSS pixels: two pixels of the file for each
    assert repr(picture) == "<64 x 32 picture>"


def test_a_saved_picture_is_the_shown_one(tmp_path):
    picture = from_image(flat(RED))
    picture.save(tmp_path / "red.png")
    assert (tmp_path / "red.png").read_bytes() == picture.png


def test_curves_and_heat_are_the_same_bytes_each_time():
    line = {"a": ([1.0, 2.0, 3.0], torch.tensor([1.0, 4.0, 9.0]))}
    assert curves(line, x="x", y="y").png == curves(line, x="x", y="y").png
    matrix = {"m": torch.eye(3)}
    assert heat_maps(matrix, signed=True).png == heat_maps(matrix, signed=True).png


def test_the_data_flow_highlights_the_named_parts_and_no_others():
    def highlighted_pixels(*parts: str) -> int:
        return len(where(pixels(data_flow(*parts)), "#E69F00", near=0))

    assert highlighted_pixels() == 0
    one, two = highlighted_pixels("decoder"), highlighted_pixels("decoder", "unet")
    assert 0 < one < two


def test_an_unknown_part_is_named():
    with pytest.raises(ValueError, match="unknown part 'vae'; expected any of text_encoder"):
        data_flow("vae")


def test_a_film_keeps_every_frame():
    picture = opened(animation([flat(RED), flat(GREEN), flat(BLUE)]))
    assert picture.n_frames == 3
    for index, colour in enumerate([RED, GREEN, BLUE]):
        picture.seek(index)
        assert picture.convert("RGB").getpixel((3, 3)) == colour


def test_a_learning_curve_shows_the_losses_and_their_running_mean(drawn):
    loss = [1.0, 0.5, 0.7, 0.2, 0.1, 0.3]
    learning_curve(range(6), loss)
    raw, mean = (line.get_ydata() for line in drawn[0].axes[0].lines)
    assert raw.tolist() == loss
    assert np.allclose(mean, smoothed(np.array(loss)))


def test_marks_are_drawn():
    plain = learning_curve([1, 2, 3], [1.0, 0.5, 0.2])
    assert learning_curve([1, 2, 3], [1.0, 0.5, 0.2], marks=[2]).png != plain.png


def test_a_kept_picture_is_shown_to_the_pixel(tmp_path):
    page = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(page).save(tmp_path / "kept.png")
    picture = saved_picture(tmp_path / "kept.png")
    assert picture.width == 7
    assert (pixels(picture) == page).all()
