import pytest
from pictures import pixels, where

from labml_sd.figures import turned_axes
from labml_sd.figures.picture import COLOURS


@pytest.mark.parametrize("angle", [20, 45, 70])
def test_v_is_perpendicular_to_x_and_both_are_turned_by_the_angle(angle):
    page = pixels(turned_axes({"one": angle}))
    x, v = where(page, COLOURS[0]), where(page, COLOURS[1])
    assert v[:, 1].min() < x[:, 1].max()  # x points to the right of v
    higher = v if angle < 45 else x
    lower = x if angle < 45 else v
    if angle != 45:
        assert higher[:, 0].min() < lower[:, 0].min()
    else:
        assert abs(int(x[:, 0].min()) - int(v[:, 0].min())) < page.shape[0] / 10


def test_there_is_a_panel_for_each_angle():
    one, three = (pixels(turned_axes(dict.fromkeys(names, 30))) for names in ("a", "abc"))
    assert three.shape[1] > 2.5 * one.shape[1]
