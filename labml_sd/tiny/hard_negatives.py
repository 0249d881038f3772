r"""Scenes that are almost the one at hand: what a caption must not be taken for.

Maps       Scene  ->  other scenes that differ in one respect
Paper      Yuksekgonul et al. 2023, arXiv:2210.01936, section 4 (hard negatives)
Tests      tests/tiny/test_hard_negatives.py

Among pictures chosen at random, "a red house and a blue car" is found by its words alone, in
whatever order. So a CLIP that only has to find it among those learns a bag of words. It reads
who is red, and what "no" says, only when the choice depends on it.
"""

import random
from dataclasses import replace

from labml_sd.tiny.scenes import COLOURS, HELD_OUT, PLACES, SIZES, Scene, Thing


def near_misses(scene: Scene, n: int, rng: random.Random) -> list[Scene]:
    """`n` different scenes, each one change away from `scene`. There are always nine or more to choose from.

    None shows a pair of `HELD_OUT` that `scene` does not show: to learn that "a purple car" is
    always wrong would be learning about it, too.
    """
    lit = replace(
        scene, light=None if scene.light else ("moon" if scene.sky == "night" else "sun")
    )
    changed = [replace(scene, objects=objects) for objects in _other_objects(scene.objects)]
    # The light is one of many changes, and the two-object swaps are few: they come first in the
    # draw.
    first = [lit, *(s for s in changed if _is_swap(scene, s))]
    rest = [s for s in changed if not _is_swap(scene, s)]
    rng.shuffle(first)
    rng.shuffle(rest)
    n_first = min(len(first), (n + 1) // 2)
    return (first[:n_first] + rest)[:n]


def _other_objects(things: tuple[Thing, ...]) -> list[tuple[Thing, ...]]:
    """All that one change, or one swap between two things, makes of them."""
    others: list[tuple[Thing, ...]] = []
    for i, thing in enumerate(things):
        taken = {other.place for other in things}
        variants = [replace(thing, colour=c) for c in COLOURS if c != thing.colour]
        variants += [replace(thing, size=s) for s in SIZES if s != thing.size]
        variants += [replace(thing, place=p) for p in PLACES if p not in taken]
        others += [(*things[:i], variant, *things[i + 1 :]) for variant in variants]
    if len(things) == 2:
        a, b = things
        others += [
            (replace(a, **{name: getattr(b, name)}), replace(b, **{name: getattr(a, name)}))
            for name in ("colour", "size", "place")
            if getattr(a, name) != getattr(b, name)
        ]
    return [other for other in others if _pairs(other) & set(HELD_OUT) <= _pairs(things)]


def _pairs(things: tuple[Thing, ...]) -> set[tuple[str, str]]:
    return {(thing.kind, thing.colour) for thing in things}


def _is_swap(scene: Scene, other: Scene) -> bool:
    """Whether both objects are other ones than before."""
    return len(scene.objects) == 2 and all(
        a != b for a, b in zip(scene.objects, other.objects, strict=True)
    )
