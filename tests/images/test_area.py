import numpy as np
import pytest
from PIL import Image

from labml_sd.images.area import Area


def mask(box, size=(200, 100)):
    image = Image.new("L", size)
    image.paste(255, box)
    return image


def test_the_area_is_a_square_around_the_white_with_padding():
    area = Area.around(mask((90, 40, 100, 50)), 5, 64, 8)
    assert area == Area((85, 35, 105, 55), (64, 64))


@pytest.mark.parametrize(
    ("white", "box"),
    [((0, 40, 10, 50), (0, 30, 30, 60)), ((190, 90, 200, 100), (170, 70, 200, 100))],
)
def test_at_a_border_it_is_moved_inwards(white, box):
    assert Area.around(mask(white), 10, 64, 8).box == box


def test_an_area_as_high_as_the_picture_keeps_its_proportions():
    area = Area.around(mask((20, 0, 160, 100)), 0, 64, 8)
    assert area.box == (20, 0, 160, 100)
    assert area.size == (64, 48)  # 140 x 100 pixels, in multiples of 8


def test_without_white_it_is_the_whole_picture():
    assert Area.around(mask((0, 0, 0, 0)), 8, 64, 8).box == (0, 0, 200, 100)


def test_what_was_cut_comes_back_in_its_place():
    whole = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8))
    area = Area((10, 20, 42, 52), (32, 32))
    part = area.cut(whole)
    assert np.array_equal(np.asarray(part), np.asarray(whole)[20:52, 10:42])
    assert np.array_equal(np.asarray(area.put_back(part, whole)), np.asarray(whole))
    red = area.put_back(Image.new("RGB", (32, 32), (200, 0, 0)), whole)
    assert (np.asarray(red)[20:52, 10:42] == (200, 0, 0)).all()
    assert np.array_equal(np.asarray(red)[:20], np.asarray(whole)[:20])


def test_a_part_is_enlarged_to_its_size_and_back():
    area = Area((0, 0, 8, 8), (64, 64))
    whole = Image.new("RGB", (16, 16), (10, 20, 30))
    assert area.cut(whole).size == (64, 64)
    assert area.put_back(Image.new("RGB", (64, 64), (200, 0, 0)), whole).size == (16, 16)
