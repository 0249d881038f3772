from dataclasses import replace

import pytest

from labml_sd.evaluation.compare_attributes import (
    ATTRIBUTES,
    ROWS,
    compare_attributes,
    match_objects,
    share,
    tally,
    wilson,
)
from labml_sd.tiny.scenes import Scene, SceneObject

HOUSE = SceneObject("house", "red", "left", "large")
CAT = SceneObject("cat", "blue", "right", "small")
ONE = Scene("night", "snow", "moon", (HOUSE,))
TWO = Scene("day", "grass", None, (HOUSE, CAT))


def wrong(asked: Scene, seen: Scene) -> set[str]:
    """The attributes that are not wholly right."""
    return {
        name
        for name, right in compare_attributes(asked, seen).items()
        if name in ATTRIBUTES and right < 1.0
    }


@pytest.mark.holds("labml_sd.evaluation.compare_attributes.wilson")
@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(right, n, low, high):
    assert wilson(right / n, n) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_all_right_mirrors_that_of_none_right():
    low, high = wilson(0.0, 40)
    assert wilson(1.0, 40) == pytest.approx((1.0 - high, 1.0 - low))
    assert wilson(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("n_objects", [1, 2])
def test_the_scene_itself_is_right_in_every_row(split, n_objects):
    scenes = [Scene.sample(5, index, split, n_objects) for index in range(60)]
    assert {share["mean"] for share in tally(scenes, scenes).values()} == {1.0}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (replace(ONE, sky="day"), {"sky"}),
        (replace(ONE, ground="sea"), {"ground"}),
        (replace(ONE, light=None), {"light"}),
        (replace(ONE, objects=(replace(HOUSE, colour="blue"),)), {"colour"}),
        (replace(ONE, objects=(replace(HOUSE, place="middle"),)), {"place"}),
        (replace(ONE, objects=(replace(HOUSE, size="small"),)), {"size"}),
        (replace(ONE, objects=(HOUSE, CAT)), {"count"}),
    ],
)
def test_one_wrong_attribute_is_the_only_wrong_row(seen, expected):
    assert wrong(ONE, seen) == expected
    assert compare_attributes(ONE, seen)["mean"] == pytest.approx(7 / 8)
    assert compare_attributes(ONE, seen)["whole"] == 0.0


def test_another_kind_at_the_requested_place_counts_for_colour_and_size():
    assert wrong(ONE, replace(ONE, objects=(replace(HOUSE, kind="car"),))) == {"kind"}


def test_another_kind_at_another_place_counts_for_nothing():
    seen = replace(ONE, objects=(replace(HOUSE, kind="car", place="right"),))
    assert wrong(ONE, seen) == {"kind", "colour", "place", "size"}


def test_an_empty_scene_has_no_object_right():
    assert wrong(ONE, replace(ONE, objects=())) == {"count", "kind", "colour", "place", "size"}


def test_the_kind_decides_before_the_place():
    house = replace(HOUSE, place="right")
    seen = replace(ONE, objects=(replace(CAT, place="left"), house))
    assert match_objects(ONE, seen) == (house,)


def test_of_two_objects_of_the_kind_the_one_at_the_place_counts():
    other = replace(HOUSE, place="right")
    at_place = replace(HOUSE, colour="green")
    assert match_objects(ONE, replace(ONE, objects=(other, at_place))) == (at_place,)


def test_swapped_colours_fail_colour_and_binding_but_not_kind():
    swapped = (replace(HOUSE, colour="blue"), replace(CAT, colour="red"))
    right = compare_attributes(TWO, replace(TWO, objects=swapped))
    assert (right["kind"], right["colour"], right["binding"]) == (1.0, 0.0, 0.0)
    assert wrong(TWO, replace(TWO, objects=swapped)) == {"colour"}


def test_swapped_places_keep_the_binding():
    swapped = (replace(HOUSE, place="right"), replace(CAT, place="left"))
    right = compare_attributes(TWO, replace(TWO, objects=swapped))
    assert (right["place"], right["binding"]) == (0.0, 1.0)


def test_one_of_two_objects_missing_is_half_right():
    right = compare_attributes(TWO, replace(TWO, objects=(CAT,)))
    assert [right[name] for name in ("count", "kind", "colour", "place", "size")] == [
        0.0,
        0.5,
        0.5,
        0.5,
        0.5,
    ]
    assert right["binding"] == 0.0


def test_one_object_does_not_count_twice():
    twins = replace(TWO, objects=(HOUSE, replace(HOUSE, place="right")))
    assert compare_attributes(twins, replace(TWO, objects=(HOUSE,)))["kind"] == 0.5


@pytest.mark.parametrize(
    "second", [replace(HOUSE, place="right", colour="blue"), replace(CAT, colour="red")]
)
def test_binding_is_measured_only_if_kinds_and_colours_differ(second):
    assert "binding" not in compare_attributes(*[replace(TWO, objects=(HOUSE, second))] * 2)


def test_a_tally_is_the_mean_over_the_pictures_a_row_applies_to():
    shares = tally(
        [TWO, TWO, ONE], [TWO, replace(TWO, objects=(CAT,)), replace(ONE, sky="day")]
    )
    assert shares["kind"]["mean"] == pytest.approx(2.5 / 3) and shares["kind"]["n"] == 3
    assert shares["sky"]["mean"] == pytest.approx(2 / 3) and shares["sky"]["n"] == 3
    assert shares["binding"] == share([0.0, 1.0])
    assert list(shares) == list(ROWS)


def test_a_share_is_a_mean_with_its_interval_and_its_count():
    low, high = wilson(0.75, 4)
    assert share([1.0, 0.5, 0.5, 1.0]) == {"mean": 0.75, "low": low, "high": high, "n": 4}
    assert share([True, False, True, True]) == share([1.0, 0.5, 0.5, 1.0])
