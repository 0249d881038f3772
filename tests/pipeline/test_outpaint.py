import numpy as np
import pytest

from labml_sd.errors import GenerationError
from labml_sd.pipeline import inpaint, outpaint
from labml_sd.pipeline.outpaint import larger_canvas

RUN = {"steps": 2, "progress": False}


def test_the_picture_is_kept_to_the_bit_and_the_rest_is_painted(model, photo):
    image = photo(32, 24)
    (larger,) = outpaint(model, "a", image, left=8, bottom=16, **RUN)
    assert larger.size == (40, 40)
    assert np.array_equal(np.asarray(larger)[:24, 8:], np.asarray(image))


def test_it_is_in_painting_on_a_larger_canvas(model, photo):
    canvas, mask = larger_canvas(photo(32, 32), 0, 0, 16, 0)
    (by_hand,) = inpaint(model, "a", canvas, mask, strength=0.5, seed=3, **RUN)
    (drawn,) = outpaint(model, "a", photo(32, 32), right=16, strength=0.5, seed=3, **RUN)
    assert np.array_equal(np.asarray(by_hand), np.asarray(drawn))


@pytest.mark.parametrize("sides", [{}, {"left": 0}, {"left": -8}])
def test_sides_that_are_no_pixels_are_refused(model, photo, sides):
    with pytest.raises(GenerationError, match="give numbers of pixels, one above 0"):
        outpaint(model, "a", photo(32, 32), **sides, **RUN)


def test_a_canvas_that_is_too_large_is_refused(model, photo):
    with pytest.raises(GenerationError, match="too large"):
        outpaint(model, "a", photo(32, 32), left=2**24, **RUN)
