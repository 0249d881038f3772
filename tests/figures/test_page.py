import numpy as np
import pytest
from pictures import css_pixels
from PIL import Image

from labml_sd.figures.page import Page, text_width
from labml_sd.figures.picture import DENSITY

RED = (200, 0, 0)


def filled(page, colour=RED):
    """Left, top, right, bottom of the pixels in a colour, the last exclusive."""
    found = np.argwhere((np.asarray(page.image) == colour).all(axis=-1))
    (top, left), (bottom, right) = found.min(axis=0), found.max(axis=0) + 1
    return tuple(int(side) for side in (left, top, right, bottom))


def test_an_image_is_enlarged_without_smoothing():
    page = Page(10, 8)
    noise = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    page.paste(Image.fromarray(noise), (2, 1))
    assert (page.width, page.height) == (10, 8)
    assert page.image.size == (10 * DENSITY, 8 * DENSITY)
    assert (css_pixels(page.image)[1:5, 2:5] == noise).all()


def test_a_page_is_pasted_as_it_is():
    page, part = Page(10, 8), Page(3, 2)
    part.rectangle((0, 0, 2, 1), fill=RED)
    page.paste(part, (4, 5))
    assert filled(page) == tuple(DENSITY * side for side in (4, 5, 7, 7))


@pytest.mark.parametrize("draw", ["rectangle", "line", "circle"])
def test_shapes_are_drawn_at_their_css_pixels(draw):
    page = Page(40, 40)
    match draw:
        case "rectangle":
            page.rectangle((10, 10, 19, 19), fill=RED)
        case "line":
            page.line((10, 15, 20, 15), fill=RED, width=10)
        case "circle":
            page.circle((15, 15), 5, fill=RED)
    for side, wanted in zip(filled(page), (10, 10, 20, 20), strict=True):
        assert abs(side - wanted * DENSITY) <= DENSITY


def test_text_keeps_its_spaces():
    assert text_width("a b") > text_width("ab") + 2
    page = Page(60, 20)
    page.text((2, 2), "red house")
    assert (np.asarray(page.image) < 128).any()
