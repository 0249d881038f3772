from collections import Counter

import pytest

from labml_sd.tiny.scenes import COLOURS, HELD_OUT, KINDS, PLACES, Scene, SceneObject

TRAIN = [Scene.sample(0, index) for index in range(3000)]
HIDDEN = [Scene.sample(0, index, "held_out") for index in range(500)]
RED_HOUSE = Scene("night", "snow", "moon", (SceneObject("house", "red", "left", "small"),))


def pairs(scene: Scene) -> set[tuple[str, str]]:
    return {(thing.kind, thing.colour) for thing in scene.objects}


def test_a_scene_depends_on_seed_index_and_split_only():
    assert Scene.sample(5, 9) == Scene.sample(5, 9)
    assert (
        len(
            {
                Scene.sample(5, 9),
                Scene.sample(5, 10),
                Scene.sample(6, 9),
                Scene.sample(5, 9, "held_out"),
            }
        )
        == 4
    )


def test_a_known_scene_stays_what_the_model_was_trained_on():
    scene = Scene.sample(0, 0)
    assert scene == Scene(
        "night",
        "snow",
        "moon",
        (
            SceneObject("balloon", "blue", "right", "large"),
            SceneObject("tree", "white", "middle", "small"),
        ),
        jitter=scene.jitter,
    )
    assert scene.caption(0) == (
        "a large blue balloon on the right and a small white tree in the centre "
        "in the snow in the night under the moon"
    )


def test_training_never_shows_a_held_out_pair():
    assert not any(pairs(scene) & set(HELD_OUT) for scene in TRAIN)


@pytest.mark.parametrize("n_objects", [None, 1, 2])
def test_a_held_out_scene_always_shows_a_held_out_pair(n_objects):
    assert all(
        pairs(Scene.sample(1, i, "held_out", n_objects)) & set(HELD_OUT) for i in range(200)
    )


def test_every_held_out_pair_occurs():
    assert set().union(*map(pairs, HIDDEN)) >= set(HELD_OUT)


def test_every_kind_and_colour_is_seen_often_in_training():
    things = [thing for scene in TRAIN for thing in scene.objects]
    kinds, colours = (
        Counter(thing.kind for thing in things),
        Counter(thing.colour for thing in things),
    )
    assert min(kinds[kind] for kind in KINDS) > 0.13 * len(things)
    assert min(colours[colour] for colour in COLOURS) > 0.09 * len(things)


@pytest.mark.parametrize("scenes", [TRAIN, HIDDEN], ids=["train", "held_out"])
def test_boats_and_balloons_alone_are_at_sea_and_boats_nowhere_else(scenes):
    for scene in scenes:
        kinds = {thing.kind for thing in scene.objects}
        assert kinds <= {"boat", "balloon"} if scene.ground == "sea" else "boat" not in kinds


def test_the_moon_shines_at_night_and_the_sun_by_day():
    assert {(scene.sky, scene.light) for scene in TRAIN} == {
        (sky, light)
        for sky, body in (("day", "sun"), ("sunset", "sun"), ("night", "moon"))
        for light in (body, None)
    }


def test_two_objects_stand_at_different_places_and_two_large_ones_apart():
    for scene in TRAIN:
        places = [thing.place for thing in scene.objects]
        assert len(set(places)) == len(places)
        if [thing.size for thing in scene.objects] == ["large", "large"]:
            assert set(places) == {"left", "right"}


def test_six_scenes_in_ten_have_one_object():
    share = sum(len(scene.objects) == 1 for scene in TRAIN) / len(TRAIN)
    assert 0.56 < share < 0.64


@pytest.mark.parametrize("n_objects", [0, 1, 2])
def test_the_number_of_objects_can_be_chosen(n_objects):
    assert all(
        len(Scene.sample(0, i, n_objects=n_objects).objects) == n_objects for i in range(20)
    )


@pytest.mark.parametrize(("split", "n_objects"), [("train", 3), ("held_out", 0)])
def test_a_scene_that_cannot_be_sampled_is_refused(split, n_objects):
    with pytest.raises(ValueError, match=r"cannot sample .* use 'train' with"):
        Scene.sample(0, 0, split, n_objects)


def test_the_canonical_caption_is_the_one_of_the_front_page():
    assert RED_HOUSE.caption() == "a small red house in the snow at night under the moon"


def test_the_full_caption_names_every_attribute():
    assert (
        RED_HOUSE.caption(full=True)
        == "a small red house on the left in the snow at night under the moon"
    )


@pytest.mark.parametrize("seed", [None, 3])
def test_full_captions_tell_all_attributes_apart(seed):
    scenes = {
        (scene.sky, scene.ground, scene.light, scene.objects): scene for scene in TRAIN
    }.values()
    assert len({scene.caption(seed, full=True) for scene in scenes}) == len(scenes)


def test_the_prompt_of_the_readme_is_in_the_language():
    wanted = {"a red house in the snow at night", "at night, a red house in the snow"}
    for seed in range(30_000):
        wanted.discard(RED_HOUSE.caption(seed))
        if not wanted:
            return
    assert wanted == set()


def test_a_caption_names_every_kind_and_leaves_out_other_parts_sometimes():
    captions = [(scene, scene.caption(i)) for i, scene in enumerate(TRAIN)]
    assert all(thing.kind in caption for scene, caption in captions for thing in scene.objects)
    things = [
        (thing.colour in caption) for scene, caption in captions for thing in scene.objects
    ]
    assert 0.66 < sum(things) / len(things) < 0.74  # a mean of 0.1, 0.2 and 0.6 is left out


def test_captions_say_an_before_a_vowel_and_have_single_spaces():
    text = [scene.caption(i) for i, scene in enumerate(TRAIN)]
    assert not any(
        " a orange" in f" {caption}" or "  " in caption or caption != caption.strip()
        for caption in text
    )
    assert any("an orange" in caption for caption in text)


def test_captions_are_short_lower_case_ascii():
    for i, scene in enumerate(TRAIN):
        caption = scene.caption(i, full=True)
        assert caption.isascii() and caption == caption.lower() and len(caption.split()) < 36


def test_a_balloon_alone_is_over_the_ground():
    scene = Scene("day", "sea", None, (SceneObject("balloon", "red", "middle", "large"),))
    assert scene.caption() == "a large red balloon over the sea by day"


def test_an_empty_scene_has_a_caption():
    assert Scene("sunset", "beach", None, ()).caption() == "an empty beach at sunset"


def test_attributes_are_flat():
    assert RED_HOUSE.attributes() == {
        "sky": "night",
        "ground": "snow",
        "light": "moon",
        "kind_0": "house",
        "colour_0": "red",
        "place_0": "left",
        "size_0": "small",
    }
    assert set(PLACES) == {Scene.sample(0, i).attributes()["place_0"] for i in range(50)}
