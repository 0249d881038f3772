import random

import pytest

from labml_sd.tiny.hard_negatives import hard_negatives
from labml_sd.tiny.scenes import HELD_OUT, Scene

SCENES = [Scene.sample(0, index) for index in range(200)]


def differing(scene, other):
    first, second = scene.attributes(), other.attributes()
    return {name for name in first if first[name] != second[name]}


@pytest.mark.parametrize("n", [1, 3, 9])
def test_there_are_as_many_as_asked_for_and_no_two_alike(n):
    for i, scene in enumerate(SCENES):
        misses = hard_negatives(scene, n, random.Random(i))
        assert len(misses) == n
        assert len({miss.caption(full=True) for miss in (scene, *misses)}) == n + 1


def test_one_attribute_differs_or_two_objects_have_swapped_one():
    for i, scene in enumerate(SCENES):
        for miss in hard_negatives(scene, 9, random.Random(i)):
            names = differing(scene, miss)
            one, *other = names
            assert len(names) == 1 or (len(names) == 2 and other[0][:-2] == one[:-2])


def test_no_pair_is_named_that_was_held_out():
    for i, scene in enumerate(SCENES):
        for miss in hard_negatives(scene, 9, random.Random(i)):
            assert not {(t.kind, t.colour) for t in miss.objects} & set(HELD_OUT)


def test_light_and_swaps_come_up_often():
    misses = [
        (scene, miss)
        for i, scene in enumerate(SCENES)
        for miss in hard_negatives(scene, 3, random.Random(i))
    ]
    lights = sum(differing(*pair) == {"light"} for pair in misses)
    swaps = sum(len(differing(*pair)) == 2 for pair in misses)
    assert lights > 0.2 * len(misses)
    assert swaps > 0.1 * len(misses)


def test_the_same_random_state_gives_the_same_negatives():
    scene = SCENES[0]
    assert hard_negatives(scene, 3, random.Random(5)) == hard_negatives(
        scene, 3, random.Random(5)
    )
