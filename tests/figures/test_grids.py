from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import css_pixels, opened, pixels
from PIL import Image

from labml_sd.figures import (
    captioned_grid,
    grids,
    show_images,
    show_rows,
    show_sizes,
    step_animation,
)
from labml_sd.figures.grids import GAP, HEAD, LINE
from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene

DOCS = Path(__file__).parents[2] / "docs"
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def flat(colour, size=(64, 32)):
    return Image.new("RGB", size, colour)


def test_a_grid_shows_each_picture_unchanged_with_ink_below():
    page = css_pixels(
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


def test_tensors_and_pil_images_give_the_same_picture():
    image = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)
    values = ((image[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    by_hand = show_images([Image.fromarray(values)])
    assert show_images(image).png == by_hand.png


def test_enlarging_repeats_pixels():
    page = pixels(show_images([flat(RED, (2, 2))], scale=10))
    assert (page[10:30, 10:30] == RED).all()


def test_rows_stand_below_one_another():
    page = pixels(show_rows({"a": [flat(RED)], "b": [flat(GREEN)]}, ["t"]))
    red, green = ((page == colour).all(axis=-1) for colour in (RED, GREEN))
    assert red.sum() == green.sum() == 64 * 32
    assert np.argwhere(red).max(axis=0)[0] < np.argwhere(green).min(axis=0)[0]
    assert np.argwhere(red).min(axis=0)[1] == np.argwhere(green).min(axis=0)[1]


def test_pictures_of_different_sizes_keep_their_pixels_and_the_row_breaks_where_it_is_full(
    monkeypatch,
):
    monkeypatch.setattr(grids, "PAGE_WIDTH", 150)
    small, large = flat(RED, (10, 10)), flat(BLUE, (40, 20))
    page = pixels(show_sizes([small, large, small], ["a", "b", "c"], scale=2))
    top = GAP + LINE
    assert (page[top : top + 20, GAP : GAP + 20] == RED).all()
    x = 3 * GAP + 20
    assert (page[top : top + 40, x : x + 80] == BLUE).all()
    second = top + 40 + GAP + LINE
    assert (page[second : second + 20, GAP : GAP + 20] == RED).all()
    assert page.shape[1] <= 150
    assert (page[GAP : GAP + LINE, GAP : GAP + 10] < 128).any()


def test_a_film_shows_the_columns_of_each_step_with_its_caption():
    small_red, small_green, small_blue = (flat(c, (16, 8)) for c in (RED, GREEN, BLUE))
    film = opened(
        step_animation({"x": [small_red, small_green], "y": [small_blue] * 2}, ["one", "two"])
    )
    assert film.n_frames == 2
    for k, colour in enumerate((RED, GREEN)):
        film.seek(k)
        page = css_pixels(film.convert("RGB"))
        assert (page[HEAD : HEAD + 16, GAP : GAP + 32] == colour).all()
        assert (page[HEAD : HEAD + 16, 2 * GAP + 32 : 2 * GAP + 64] == BLUE).all()
        assert (page[:HEAD] < 128).any()
        assert (page[HEAD + 16 :] < 128).any()
