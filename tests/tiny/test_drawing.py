import numpy as np
import pytest

from labml_sd.tiny.drawing import changed_box, draw_scene
from labml_sd.tiny.scenes import COLOURS, GROUNDS, KINDS, PLACES, SKIES, Scene, SceneObject


def picture(scene: Scene, size: int = 128) -> np.ndarray:
    return np.asarray(draw_scene(scene, size), dtype=np.int64)


def one(
    kind="house", colour="red", place="middle", size="large", sky="day", ground="grass"
) -> Scene:
    return Scene(
        sky,
        "sea" if kind == "boat" else ground,
        None,
        (SceneObject(kind, colour, place, size),),
        jitter=7,
    )


def difference(scene: Scene, other: Scene) -> np.ndarray:
    """Where two pictures differ clearly, as a mask."""
    return np.abs(picture(scene) - picture(other)).max(axis=-1) > 12


@pytest.mark.parametrize("size", [64, 128, 256])
def test_a_picture_is_rgb_and_of_the_size_asked_for(size):
    image = draw_scene(Scene.sample(0, 0), size)
    assert (image.mode, image.size) == ("RGB", (size, size))


def test_drawing_twice_gives_the_same_pixels():
    scene = Scene.sample(0, 3)
    first = picture(scene)
    draw_scene(Scene.sample(0, 4))
    assert np.array_equal(first, picture(scene))


def test_jitter_moves_what_no_caption_names():
    light = Scene("day", "grass", "sun", (), jitter=1)
    assert not np.array_equal(
        picture(light), picture(Scene("day", "grass", "sun", (), jitter=2))
    )


@pytest.mark.parametrize("sky", SKIES)
@pytest.mark.parametrize("kind", KINDS)
def test_colours_of_an_object_are_far_apart(kind, sky):
    means = []
    for colour in COLOURS:
        scene = one(kind, colour, size="small", sky=sky)
        mask = difference(
            scene, one(kind, "red" if colour != "red" else "blue", size="small", sky=sky)
        )
        means.append(picture(scene)[mask].mean(axis=0))
    gaps = [np.abs(a - b).max() for i, a in enumerate(means) for b in means[:i]]
    assert min(gaps) > 20


@pytest.mark.parametrize("sky", SKIES)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_object_stands_out_from_every_ground_and_sky(kind, colour, sky):
    for ground in ["sea"] if kind == "boat" else GROUNDS:
        with_it = one(kind, colour, "middle", "small", sky, ground)
        without = Scene(sky, with_it.ground, None, (), jitter=7)
        changed = np.abs(picture(with_it) - picture(without)).max(axis=-1)[:, 48:80]
        assert (changed > 30).sum() > 150


@pytest.mark.parametrize("kind", KINDS)
def test_large_is_clearly_larger_than_small(kind):
    widths = {}
    for size in ("small", "large"):
        columns = difference(one(kind, size=size), one(kind, "blue", size=size)).any(axis=0)
        widths[size] = np.ptp(np.flatnonzero(columns))
    assert widths["large"] > 1.45 * widths["small"]


@pytest.mark.parametrize("kind", KINDS)
def test_places_are_from_left_to_right_and_inside_the_picture(kind):
    centres = []
    for place in PLACES:
        red, blue = one(kind, "red", place, "small"), one(kind, "blue", place, "small")
        columns = np.flatnonzero(difference(red, blue).any(axis=0))
        assert columns.min() > 0 and columns.max() < 127
        centres.append(columns.mean())
    assert np.all(np.diff(centres) > 30)


def test_sun_and_moon_are_seen():
    for sky, light in (("day", "sun"), ("sunset", "sun"), ("night", "moon")):
        things = one(sky=sky).objects
        assert (
            difference(
                Scene(sky, "grass", light, things, 7), Scene(sky, "grass", None, things, 7)
            ).sum()
            > 100
        )


@pytest.mark.parametrize("what", [SKIES, GROUNDS], ids=["sky", "ground"])
def test_skies_and_grounds_look_different(what):
    pictures = [
        picture(
            Scene(name, "sea", None, ()) if what is SKIES else Scene("night", name, None, ())
        ).mean(axis=(0, 1))
        for name in what
    ]
    assert min(np.abs(a - b).max() for i, a in enumerate(pictures) for b in pictures[:i]) > 5


def test_more_objects_than_places_still_draw():
    crowd = tuple(
        SceneObject("cat", colour, place, "small") for colour in COLOURS for place in PLACES
    )
    assert picture(Scene("night", "snow", "moon", crowd)).shape == (128, 128, 3)


def test_the_changed_box_is_the_smallest_that_holds_every_changed_pixel():
    before, after = one(colour="red"), one(colour="blue")
    changed = (picture(before) != picture(after)).any(axis=-1)
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    assert changed_box(before, after) == (
        columns[0],
        rows[0],
        columns[-1] + 1,
        rows[-1] + 1,
    )
    with pytest.raises(ValueError, match="look the same"):
        changed_box(before, before)
