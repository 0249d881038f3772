import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from labml_sd.errors import ImageError
from labml_sd.images.masks import load_mask

BAR = (8, 0, 15, 15)  # the right half of 16x16


def strokes(
    ground: tuple[int, ...], colour: tuple[int, ...], mode: str = "RGBA"
) -> Image.Image:
    image = Image.new(mode, (16, 16), ground)
    ImageDraw.Draw(image).rectangle(BAR, fill=colour)
    return image


def halves(left: int, right: int) -> list[list[int]]:
    return [[left] * 8 + [right] * 8] * 16


def read(mask: Image.Image) -> list[list[int]]:
    return np.asarray(load_mask(mask, mask.size)).tolist()


def saved(image: Image.Image, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return Image.open(buffer)


def test_a_mask_of_another_size_names_both_sizes():
    with pytest.raises(ImageError, match="8x9 and the picture 9x8") as error:
        load_mask(Image.new("L", (8, 9)), (9, 8))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 60)])
@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255), (1, 2, 3)])
def test_strokes_on_a_transparent_ground_are_the_mask_whatever_their_colour(colour, hidden):
    mask = strokes((*hidden, 0), (*colour, 255))
    assert read(mask) == halves(0, 255)
    assert read(saved(mask, format="PNG")) == halves(0, 255)


def test_the_opacity_of_a_stroke_is_how_much_it_paints():
    assert read(strokes((0, 0, 0, 0), (255, 255, 255, 128))) == halves(0, 128)
    soft = strokes((255, 255, 255, 10), (255, 255, 255, 200))
    assert read(soft) == halves(10, 200)


def test_strokes_in_a_lossy_file_are_the_mask():
    found = load_mask(saved(strokes((0, 0, 0, 0), (250, 90, 90, 255)), format="WEBP"), (16, 16))
    assert np.abs(np.asarray(found).astype(int) - halves(0, 255)).max() <= 8


@pytest.mark.parametrize("mode", ["LA", "PA", "P"])
def test_strokes_in_any_mode_with_opacity_are_the_mask(mode):
    mask = strokes((0, 0, 0, 0), (255, 255, 255, 255))
    if mode == "P":  # one colour of a palette is transparent
        mask = strokes((7,), (9,), "P")
        mask.putpalette([200] * 768)
        mask = saved(mask, format="PNG", transparency=7)
    else:
        mask = mask.convert("LA") if mode == "LA" else mask
    assert read(mask) == halves(0, 255)


def test_a_mask_that_is_transparent_everywhere_paints_nothing():
    assert read(strokes((0, 0, 0, 0), (255, 255, 255, 0))) == halves(0, 0)


@pytest.mark.parametrize("opacity", [255, 128])
def test_where_the_opacity_does_not_vary_brightness_is_the_mask(opacity):
    found = read(strokes((0, 0, 0, opacity), (255, 255, 255, opacity)))
    assert found == halves(255 - opacity, 255)


def test_where_colours_and_opacity_vary_the_mask_says_what_was_taken():
    mask = strokes((0, 0, 0, 255), (255, 255, 255, 255))
    ImageDraw.Draw(mask).rectangle((0, 0, 3, 15), fill=(90, 90, 90, 0))
    with pytest.warns(
        UserWarning, match="its brightness is taken, with transparent parts as w"
    ):
        assert read(mask) == [[255] * 4 + [0] * 4 + [255] * 8] * 16


def test_a_mask_drawn_on_a_photo_that_lies_on_its_side_is_to_be_turned():
    with pytest.raises(ImageError, match="is 9x8 and the picture 8x9: turn the mask"):
        load_mask(Image.new("L", (9, 8)), (8, 9))
