import numpy as np
from pictures import pixels

from labml_sd.figures import level_bars, part_sizes, parts_chart

BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def test_the_bars_of_parts_are_as_long_as_the_counts_with_the_number_beside(drawn):
    parts_chart({"a": 1_500_000, "b": 3_000_000})
    (panel,) = drawn[0].axes
    assert [bar.get_width() for bar in panel.patches] == [1_500_000, 3_000_000]
    assert [text.get_text() for text in panel.texts] == ["1.50 M", "3.00 M"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "b"]


def test_a_larger_part_has_a_longer_bar_and_models_stand_below_one_another():
    picture = part_sizes({"one": [10.0, 100.0], "two": [1000.0, 1.0]}, ["first", "second"])
    page = pixels(picture)
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


def test_each_measure_has_a_bar_for_each_level_from_top_to_bottom(drawn):
    level_bars(["level 0", "level 1"], {"numbers": [9000, 30], "cost": [7, 8]})
    numbers, cost = drawn[0].axes
    assert [bar.get_width() for bar in numbers.patches] == [9000, 30]
    assert [bar.get_width() for bar in cost.patches] == [7, 8]
    assert [text.get_text() for text in numbers.texts] == ["9,000", "30"]
    assert [label.get_text() for label in numbers.get_yticklabels()] == ["level 0", "level 1"]
    assert numbers.yaxis_inverted()
