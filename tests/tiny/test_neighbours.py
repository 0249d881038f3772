from dataclasses import replace

import pytest

from labml_sd.tiny.neighbours import (
    empty_scenes,
    is_possible,
    kinds_on,
    neighbours,
    objects_on,
    one_more,
)
from labml_sd.tiny.scenes import GROUNDS, LIGHT_OF, Scene

SCENES = [
    Scene.sample(5, index, split) for index in range(150) for split in ("train", "held_out")
]


def key(scene):
    """A scene without its jitter and without the order of its objects."""
    return scene.sky, scene.ground, scene.light, frozenset(scene.objects)


def distance(scene, other):
    """The number of attributes, of objects in the order given, that differ."""
    first, second = scene.attributes(), other.attributes()
    return sum(first[name] != second[name] for name in first)


def test_what_is_sampled_is_possible():
    assert all(map(is_possible, SCENES))


def test_what_is_never_sampled_is_not_possible():
    scene = next(s for s in SCENES if len(s.objects) == 2 and s.ground != "sea")
    a, b = scene.objects
    wrong = [
        replace(scene, light="moon" if LIGHT_OF[scene.sky] == "sun" else "sun"),
        replace(scene, objects=(a, replace(b, place=a.place))),
        replace(scene, objects=(replace(a, kind="boat"), b)),
        replace(scene, ground="sea", objects=(replace(a, kind="cat"),)),
        replace(scene, objects=(replace(a, place="left"),) * 3),
        replace(
            scene,
            objects=(
                replace(a, place="left", size="large"),
                replace(b, place="middle", size="large"),
            ),
        ),
    ]
    assert not any(map(is_possible, wrong))


@pytest.mark.parametrize("ground", GROUNDS)
def test_the_kinds_of_a_ground_are_those_that_are_sampled(ground):
    seen = {item.kind for s in SCENES if s.ground == ground for item in s.objects}
    assert seen == set(kinds_on(ground))
    assert len(objects_on(ground)) == len(set(objects_on(ground))) == 48 * len(seen)


def test_all_empty_scenes_are_there():
    scenes = empty_scenes()
    assert len({key(scene) for scene in scenes}) == len(scenes) == 3 * 2 * 4
    assert all(map(is_possible, scenes))


def test_neighbours_are_possible_different_and_one_change_away():
    for scene in SCENES:
        found = neighbours(scene)
        assert all(map(is_possible, found))
        assert len({*found, scene}) == len(found) + 1
        for other in found:
            if len(other.objects) == len(scene.objects):
                # 2: a sky with its light, or one attribute swapped between two objects
                assert 1 <= distance(scene, other) <= 2
            else:
                few, many = sorted((scene, other), key=lambda s: len(s.objects))
                assert len(many.objects) == len(few.objects) + 1
                assert set(few.objects) < set(many.objects)


def test_a_neighbour_s_neighbours_include_the_scene():
    for scene in SCENES[:20]:
        for other in neighbours(scene)[::7]:
            assert key(scene) in {key(back) for back in neighbours(other)}


def test_every_scene_can_be_reached_from_an_empty_one():
    empty = {key(scene) for scene in empty_scenes()}
    for scene in SCENES[:40]:
        reached = replace(scene, objects=())
        assert key(reached) in empty
        for n in range(len(scene.objects)):
            reached = replace(scene, objects=scene.objects[: n + 1])
            before = replace(scene, objects=scene.objects[:n])
            assert reached in one_more(before)
