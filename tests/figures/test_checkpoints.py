import io

import numpy as np
from PIL import Image

from labml_sd.figures import part_sizes

BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def test_a_larger_part_has_a_longer_bar_and_models_stand_below_one_another():
    picture = part_sizes(
        {"one": [10.0, 100.0], "two": [1000.0, 1.0]}, ["first", "second"], alt=""
    )
    page = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"), int)
    page = page[:, : page.shape[1] * 3 // 4]  # without the legend
    lengths = {}
    for name, colour in (("first", BLUE), ("second", ORANGE)):
        rows = (np.abs(page - colour).sum(axis=-1) < 30).sum(axis=1)
        upper, *_, lower = np.flatnonzero(
            rows > 20
        )  # the first row of the upper bar, the last of the lower one
        lengths[name] = rows[upper + 2], rows[lower - 2]
    (first_one, first_two), (second_one, second_two) = lengths["first"], lengths["second"]
    assert second_two < first_one < second_one < first_two
