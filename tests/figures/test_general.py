import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labml_sd.figures import (
    Picture,
    animation,
    captioned_grid,
    curves,
    data_flow,
    from_image,
    heat_maps,
    show_images,
    show_rows,
)
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene

DOCS = Path(__file__).parents[2] / "docs"
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def flat(colour, size=(64, 32)):
    return Image.new("RGB", size, colour)


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png))


def test_a_grid_shows_each_picture_unchanged_with_ink_below():
    page = np.asarray(
        captioned_grid(
            [flat(RED), flat(GREEN), flat(BLUE)], ["one", "two", "three"], columns=2, n_lines=1
        )
    )
    for colour, (x, y) in zip([RED, GREEN, BLUE], [(10, 10), (84, 10), (10, 66)], strict=True):
        assert (page[y : y + 32, x : x + 64] == colour).all()
        assert (page[y + 32 : y + 46, x : x + 64] < 128).any()


def test_a_caption_is_never_cut_off():
    with pytest.raises(ValueError, match="lines of 40 pixels, n_lines is 1"):
        captioned_grid([flat(RED, (40, 8))], ["a small red house"], columns=1, n_lines=1)


def test_the_page_of_scenes_in_the_docs_is_what_the_code_draws():
    scenes = [Scene.sample(0, index) for index in range(64)]
    captions = [scene.caption(seed=index) for index, scene in enumerate(scenes)]
    page = captioned_grid([draw_scene(s) for s in scenes], captions, columns=8, n_lines=6)
    with Image.open(DOCS / "_static" / "scenes.png") as committed:
        assert np.abs(np.asarray(page, float) - np.asarray(committed, float)).mean() < 0.1


def test_a_picture_is_a_png_that_says_what_it_shows():
    picture = from_image(flat(RED), "a red field")
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert repr(picture) == "<64 x 32 picture: a red field>"


def test_a_saved_picture_is_the_shown_one(tmp_path):
    picture = from_image(flat(RED), "a red field")
    picture.save(tmp_path / "red.png")
    assert (tmp_path / "red.png").read_bytes() == picture.png


def test_tensors_and_pil_images_give_the_same_picture():
    image = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)
    pixels = ((image[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    by_hand = show_images([Image.fromarray(pixels)], alt="")
    assert show_images(image, alt="").png == by_hand.png


def test_enlarging_repeats_pixels():
    picture = opened(show_images([flat(RED, (2, 2))], scale=10, alt=""))
    assert (np.asarray(picture)[10:30, 10:30] == RED).all()


def test_rows_stand_below_one_another():
    page = np.asarray(opened(show_rows({"a": [flat(RED)], "b": [flat(GREEN)]}, ["t"], alt="")))
    red, green = ((page == colour).all(axis=-1) for colour in (RED, GREEN))
    assert red.sum() == green.sum() == 64 * 32
    assert np.argwhere(red).max(axis=0)[0] < np.argwhere(green).min(axis=0)[0]
    assert np.argwhere(red).min(axis=0)[1] == np.argwhere(green).min(axis=0)[1]


def test_a_film_keeps_every_frame():
    picture = opened(animation([flat(RED), flat(GREEN), flat(BLUE)], alt=""))
    assert picture.n_frames == 3
    for index, colour in enumerate([RED, GREEN, BLUE]):
        picture.seek(index)
        assert picture.convert("RGB").getpixel((3, 3)) == colour


def test_curves_and_heat_are_the_same_bytes_each_time():
    line = {"a": ([1.0, 2.0, 3.0], torch.tensor([1.0, 4.0, 9.0]))}
    assert curves(line, x="x", y="y", alt="").png == curves(line, x="x", y="y", alt="").png
    matrix = {"m": torch.eye(3)}
    assert (
        heat_maps(matrix, alt="", signed=True).png == heat_maps(matrix, alt="", signed=True).png
    )


def test_the_data_flow_highlights_the_named_parts_and_no_others():
    def highlighted_pixels(*parts: str) -> int:
        pixels = np.asarray(opened(data_flow(*parts)).convert("RGB"))
        return int((pixels == (0xE6, 0x9F, 0x00)).all(axis=-1).sum())

    assert highlighted_pixels() == 0
    one, two = highlighted_pixels("decoder"), highlighted_pixels("decoder", "unet")
    assert 0 < one < two
    assert "decoder and unet" in data_flow("decoder", "unet").alt


def test_an_unknown_part_is_named():
    with pytest.raises(ValueError, match="unknown part 'vae'; expected any of text_encoder"):
        data_flow("vae")
