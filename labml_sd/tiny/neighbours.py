r"""The space of all scenes that captions describe, and the scenes next to a given one.

Maps       Scene  ->  whether it can occur; the scenes one change away
           nothing  ->  every scene without an object
Tests      tests/tiny/test_neighbours.py
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from labml_sd.tiny.scenes import (
    COLOURS,
    GROUNDS,
    KINDS,
    LIGHT_OF,
    PLACES,
    SIZES,
    SKIES,
    Ground,
    Kind,
    Scene,
    SceneObject,
)

MAX_OBJECTS = 2


def kinds_on(ground: Ground) -> tuple[Kind, ...]:
    """The kinds of objects on a ground: boats and balloons at sea, all but boats on land."""
    return tuple(k for k in KINDS if k == "balloon" or (k == "boat") == (ground == "sea"))


def is_possible(scene: Scene) -> bool:
    """Whether `Scene.sample` could give it: light, kinds, places and sizes fit together."""
    places = [item.place for item in scene.objects]
    both_large = len(places) > 1 and all(item.size == "large" for item in scene.objects)
    return (
        scene.light in (None, LIGHT_OF[scene.sky])
        and len(places) <= MAX_OBJECTS
        and len(set(places)) == len(places)
        and all(item.kind in kinds_on(scene.ground) for item in scene.objects)
        and not (both_large and "middle" in places)
    )


def empty_scenes() -> list[Scene]:
    """Every scene without an object: 3 skies, each with its light or without, 4 grounds."""
    return [
        Scene(sky, ground, light, ())
        for sky, ground in product(SKIES, GROUNDS)
        for light in (LIGHT_OF[sky], None)
    ]


def objects_on(ground: Ground) -> list[SceneObject]:
    """Every object that a ground can have."""
    attributes = product(kinds_on(ground), COLOURS, PLACES, SIZES)
    return [SceneObject(*values) for values in attributes]


def neighbours(scene: Scene) -> list[Scene]:
    """The possible scenes that differ in one attribute, in a swap, or in one object.

    A sky keeps its light on or off: the moon of a night becomes the sun of a day. Objects that
    are added come last.
    """
    found = (*_settings(scene), *_objects(scene), *one_more(scene))
    return [other for other in dict.fromkeys(found) if other != scene and is_possible(other)]


def one_more(scene: Scene) -> list[Scene]:
    """The possible scenes with one more object."""
    more = (replace(scene, objects=(*scene.objects, new)) for new in objects_on(scene.ground))
    return [other for other in more if is_possible(other)]


def _settings(scene: Scene) -> Iterator[Scene]:
    """Another sky, another ground, the light switched."""
    for sky in SKIES:
        yield replace(scene, sky=sky, light=LIGHT_OF[sky] if scene.light else None)
    for ground in GROUNDS:
        yield replace(scene, ground=ground)
    yield replace(scene, light=None if scene.light else LIGHT_OF[scene.sky])


def _objects(scene: Scene) -> Iterator[Scene]:
    """One attribute of an object changed, an object removed, an attribute swapped."""
    values: dict[str, tuple[Any, ...]] = {
        "kind": KINDS,
        "colour": COLOURS,
        "place": PLACES,
        "size": SIZES,
    }
    for i, item in enumerate(scene.objects):
        before, after = scene.objects[:i], scene.objects[i + 1 :]
        yield replace(scene, objects=before + after)
        for name, choices in values.items():
            for value in choices:
                changed = replace(item, **{name: value})
                yield replace(scene, objects=(*before, changed, *after))
    if len(scene.objects) == MAX_OBJECTS:
        a, b = scene.objects
        for name in values:
            one, other = (replace(x, **{name: getattr(y, name)}) for x, y in ((a, b), (b, a)))
            yield replace(scene, objects=(one, other))
