r"""Hard negatives: scenes that differ from a given one in a single attribute.

Maps       Scene  ->  n other scenes, each one change away
Paper      Yuksekgonul et al. 2023, arXiv:2210.01936, section 4 (hard negatives)
Tests      tests/tiny/test_hard_negatives.py

Among random pictures, "a red house and a blue car" can be identified by its words alone, in
any order. A CLIP trained only on random pictures therefore learns a bag of words. It learns
which object is red, and what "no sun" means, only when telling captions apart depends on it.
"""

import random
from dataclasses import replace

from labml_sd.tiny.scenes import COLOURS, HELD_OUT, LIGHT_OF, PLACES, SIZES, Scene, SceneObject

Objects = tuple[SceneObject, ...]


def hard_negatives(scene: Scene, n: int, rng: random.Random) -> list[Scene]:
    """`n` different scenes, each one change away from `scene`; there are at least nine.

    None shows a pair of `HELD_OUT` that `scene` does not show. Learning that "a purple car" is
    always wrong would also be learning about purple cars.
    """
    lit = replace(scene, light=None if scene.light else LIGHT_OF[scene.sky])

    def scenes(others: list[Objects]) -> list[Scene]:
        hidden = set(HELD_OUT) - _pairs(scene.objects)
        return [replace(scene, objects=o) for o in others if not _pairs(o) & hidden]

    # The change of light and the swaps between two objects are few among many changes of one
    # attribute, so up to half of the result is taken from them first.
    first = [lit, *scenes(_swaps(scene.objects))]
    rest = scenes(_changes(scene.objects))
    rng.shuffle(first)
    rng.shuffle(rest)
    n_first = min(len(first), (n + 1) // 2)
    return (first[:n_first] + rest)[:n]


def _changes(objects: Objects) -> list[Objects]:
    """All that changing one attribute of one object can give."""
    others: list[Objects] = []
    for i, item in enumerate(objects):
        taken = {other.place for other in objects}
        variants = [replace(item, colour=c) for c in COLOURS if c != item.colour]
        variants += [replace(item, size=s) for s in SIZES if s != item.size]
        variants += [replace(item, place=p) for p in PLACES if p not in taken]
        others += [(*objects[:i], variant, *objects[i + 1 :]) for variant in variants]
    return others


def _swaps(objects: Objects) -> list[Objects]:
    """All that swapping one attribute between two objects can give."""
    if len(objects) != 2:
        return []
    a, b = objects
    return [
        (replace(a, **{name: getattr(b, name)}), replace(b, **{name: getattr(a, name)}))
        for name in ("colour", "size", "place")
        if getattr(a, name) != getattr(b, name)
    ]


def _pairs(objects: Objects) -> set[tuple[str, str]]:
    return {(item.kind, item.colour) for item in objects}
