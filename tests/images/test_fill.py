import numpy as np
import pytest
from PIL import Image

from labml_sd.images.fill import extended, filled

RED, BLUE = (200, 0, 0), (0, 0, 200)


@pytest.fixture
def halves():
    image = Image.new("RGB", (64, 64), RED)
    image.paste(BLUE, (32, 0, 64, 64))
    return image


def test_a_hole_gets_the_colours_next_to_it(halves):
    mask = Image.new("L", (64, 64))
    for left in (8, 44):
        mask.paste(255, (left, 24, left + 10, 40))
    holed = halves.copy()
    holed.paste((255, 255, 255), (0, 0), mask)
    result = np.asarray(filled(holed, mask), int)
    assert np.abs(result[25:39, 9:17] - RED).max() < 30
    assert np.abs(result[25:39, 45:53] - BLUE).max() < 30


def test_what_is_kept_stays_to_the_bit_and_the_input_too(halves):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (20, 20, 40, 40))
    before = halves.tobytes()
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(filled(halves, mask))[kept], np.asarray(halves)[kept])
    assert halves.tobytes() == before


def test_a_mask_over_everything_changes_nothing(halves):
    white = Image.new("L", (64, 64), 255)
    assert np.array_equal(np.asarray(filled(halves, white)), np.asarray(halves))


def test_a_large_hole_gets_the_mean_of_what_is_left():
    image = Image.new("RGB", (300, 300), RED)
    mask = Image.new("L", (300, 300), 255)
    mask.paste(0, (0, 0, 4, 300))
    assert np.abs(np.asarray(filled(image, mask), int) - RED).max() <= 1


def test_a_larger_canvas_goes_on_in_the_colours_of_the_border(halves):
    canvas, mask = extended(halves, 10, 0, 20, 6)
    assert canvas.size == mask.size == (94, 70)
    assert np.array_equal(np.asarray(canvas)[:64, 10:74], np.asarray(halves))
    assert (np.asarray(mask)[:64, 10:74] == 0).all()
    assert (np.asarray(mask) > 0).sum() == 94 * 70 - 64 * 64
    assert np.abs(np.asarray(canvas, int)[10:50, 5:9] - RED).max() < 30
    assert np.abs(np.asarray(canvas, int)[10:50, 75:80] - BLUE).max() < 30
