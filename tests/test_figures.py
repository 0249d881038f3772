from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labml_sd.figures import captioned_grid
from labml_sd.training.scenes import Scene

DOCS = Path(__file__).parent.parent / "docs"


def test_a_grid_shows_each_picture_unchanged_with_ink_below():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    images = [Image.new("RGB", (64, 32), colour) for colour in colours]
    page = np.asarray(captioned_grid(images, ["one", "two", "three"], columns=2, n_lines=1))
    for colour, (x, y) in zip(colours, [(10, 10), (84, 10), (10, 66)], strict=True):
        assert (page[y : y + 32, x : x + 64] == colour).all()
        assert (page[y + 32 : y + 46, x : x + 64] < 128).any()


def test_a_caption_is_never_cut_off():
    with pytest.raises(ValueError, match="lines of 40 pixels, not 1"):
        captioned_grid([Image.new("RGB", (40, 8))], ["a small red house"], columns=1, n_lines=1)


def test_the_page_of_scenes_in_the_docs_is_what_the_code_draws():
    scenes = [Scene.sample(0, index) for index in range(64)]
    captions = [scene.caption(seed=index) for index, scene in enumerate(scenes)]
    page = captioned_grid([s.render() for s in scenes], captions, columns=8, n_lines=6)
    with Image.open(DOCS / "_static" / "scenes.png") as committed:
        assert np.abs(np.asarray(page, float) - np.asarray(committed, float)).mean() < 0.1
