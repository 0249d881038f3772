r"""Compares the scene asked for with the scene read from a picture, attribute by attribute.

Maps       two scenes  ->  0 to 1 for each attribute
           many pairs of scenes  ->  shares with confidence intervals
Paper      Wilson 1927, doi:10.1080/01621459.1927.10502953 (the interval)
Tests      tests/evaluation/test_compare_attributes.py
"""

import math
from collections.abc import Sequence
from itertools import permutations
from statistics import fmean

from labml_sd.tiny.scenes import Scene, SceneObject

ATTRIBUTES = ("sky", "ground", "light", "count", "kind", "colour", "place", "size")
ROWS = (*ATTRIBUTES, "binding", "mean", "whole")

Matching = tuple[SceneObject | None, ...]
Share = dict[str, float]
"""`mean` over `n` pictures of a number from 0 to 1, and its 95% interval `low` to `high`."""


def wilson(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    r"""Wilson's score interval within [0, 1] for a share $p$ of `n` trials; `z` = 1.96 is 95%.

    $$ \frac{1}{1 + z^2/n} \left( p + \frac{z^2}{2n}
       \pm z \sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}} \right) $$
    """
    if n == 0:
        return 0.0, 1.0
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def match_objects(asked: Scene, seen: Scene) -> Matching:
    """For each object asked for, the object in `seen` that it is matched with, or None.

    Matched objects have the same kind or the same place, and each is matched once. Of all
    matchings, the one with the most right kinds is taken, then places, then colours and sizes.
    """
    n = len(asked.objects)

    def pairs(matching: Matching) -> list[tuple[SceneObject, SceneObject]]:
        return [(a, s) for a, s in zip(asked.objects, matching, strict=True) if s is not None]

    def allowed(matching: Matching) -> bool:
        return all(s.kind == a.kind or s.place == a.place for a, s in pairs(matching))

    def agreement(matching: Matching) -> tuple[int, int, int]:
        return (
            sum(a.kind == s.kind for a, s in pairs(matching)),
            sum(a.place == s.place for a, s in pairs(matching)),
            sum((a.colour == s.colour) + (a.size == s.size) for a, s in pairs(matching)),
        )

    return max(filter(allowed, permutations([*seen.objects, *[None] * n], n)), key=agreement)


def compare_attributes(asked: Scene, seen: Scene) -> dict[str, float]:
    """For each row of the report, how much is right: 0.5 if one of two objects is."""
    here, there = vars(asked), vars(seen)
    right = {name: float(here[name] == there[name]) for name in ("sky", "ground", "light")}
    right["count"] = float(len(asked.objects) == len(seen.objects))
    pairs = list(zip(asked.objects, match_objects(asked, seen), strict=True))
    for name in ("kind", "colour", "place", "size") if pairs else ():
        right[name] = fmean(s is not None and vars(a)[name] == vars(s)[name] for a, s in pairs)
    summary = {"mean": fmean(right.values()), "whole": float(min(right.values()) == 1.0)}
    kinds, colours = ({vars(o)[name] for o in asked.objects} for name in ("kind", "colour"))
    if len(kinds) == len(colours) == 2:  # otherwise colours cannot be on the wrong object
        summary["binding"] = float(right["kind"] == right["colour"] == 1.0)
    return right | summary


def share(values: Sequence[float | bool]) -> Share:
    """The mean of numbers from 0 to 1, one for each picture.

    The interval is conservative for numbers other than 0 and 1: their variance is smaller than
    that of zeros and ones of the same mean.
    """
    mean = fmean(values)
    low, high = wilson(mean, len(values))
    return {"mean": mean, "low": low, "high": high, "n": len(values)}


def tally(asked: Sequence[Scene], seen: Sequence[Scene]) -> dict[str, Share]:
    """The share of each row over the pictures that have it; rows without any are missing."""
    compared = [compare_attributes(a, s) for a, s in zip(asked, seen, strict=True)]
    values = {name: [right[name] for right in compared if name in right] for name in ROWS}
    return {name: share(v) for name, v in values.items() if v}
