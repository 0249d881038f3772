r"""Which of the attributes asked for are right, and how sure the share of them is.

Maps       the scene asked for, the scene seen  ->  0 to 1 for each attribute; many of them  ->  shares
Paper      Wilson 1927, doi:10.1080/01621459.1927.10502953 (the interval)
Tests      tests/evaluation/test_compare_attributes.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from labml_sd.tiny.scenes import Scene, SceneObject

ATTRIBUTES = ("sky", "ground", "light", "count", "kind", "colour", "place", "size")
ROWS = (*ATTRIBUTES, "binding", "mean", "whole")


@dataclass(frozen=True)
class Share:
    """A mean over `n` pictures of a number from 0 to 1."""

    mean: float
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share lies, with 95% confidence.

        The numbers may lie between 0 and 1. They then scatter less than zeros and ones of the
        same mean, so the interval is too wide rather than too narrow.
        """
        return wilson(self.mean, self.n)

    def as_data(self) -> dict[str, float]:
        """For a JSON file."""
        low, high = self.interval
        return {"mean": self.mean, "low": low, "high": high, "n": self.n}


Shares = dict[str, Share]  # by row; a row that nothing was judged on is missing


def wilson(share: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    r"""Wilson's score interval for a share $p$ of `n` trials; `z` = 1.96 for 95%. It never leaves [0, 1].

    $$ \frac{1}{1 + z^2/n} \left( p + \frac{z^2}{2n}
       \pm z \sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}} \right) $$
    """
    if n == 0:
        return 0.0, 1.0
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def counterparts(asked: Scene, seen: Scene) -> tuple[SceneObject | None, ...]:
    """For every object asked for, the one seen that stands for it, or None.

    It has the same kind or the same place, and stands for one only. Of all ways to pair them,
    the one with the most right kinds counts, then places, then colours and sizes.
    """
    n = len(asked.objects)

    def agreement(pairing: tuple[SceneObject | None, ...]) -> tuple[int, int, int]:
        pairs = [(a, s) for a, s in zip(asked.objects, pairing, strict=True) if s is not None]
        rest = sum((a.colour == s.colour) + (a.size == s.size) for a, s in pairs)
        return (
            sum(a.kind == s.kind for a, s in pairs),
            sum(a.place == s.place for a, s in pairs),
            rest,
        )

    def allowed(pairing: tuple[SceneObject | None, ...]) -> bool:
        pairs = zip(asked.objects, pairing, strict=True)
        return all(s is None or s.kind == a.kind or s.place == a.place for a, s in pairs)

    return max(filter(allowed, permutations([*seen.objects, *[None] * n], n)), key=agreement)


def judge(asked: Scene, seen: Scene) -> dict[str, float]:
    """Which rows of the report are right, from 0 to 1: of two objects one can be right and one wrong."""
    right = {
        "sky": float(asked.sky == seen.sky),
        "ground": float(asked.ground == seen.ground),
        "light": float(asked.light == seen.light),
        "count": float(len(asked.objects) == len(seen.objects)),
    }
    pairs = list(zip(asked.objects, counterparts(asked, seen), strict=True))
    for name in ("kind", "colour", "place", "size"):
        if pairs:
            right[name] = sum(
                s is not None and vars(a)[name] == vars(s)[name] for a, s in pairs
            ) / len(pairs)
    summary = {
        "mean": sum(right.values()) / len(right),
        "whole": float(min(right.values()) == 1.0),
    }
    kinds, colours = (
        {thing.kind for thing in asked.objects},
        {thing.colour for thing in asked.objects},
    )
    if len(kinds) == len(colours) == 2:  # only then can a colour go to the wrong object
        summary["binding"] = float(right["kind"] == right["colour"] == 1.0)
    return right | summary


def share(values: Sequence[float | bool]) -> Share:
    """The mean of numbers from 0 to 1, one for each picture."""
    return Share(math.fsum(values) / len(values), len(values))


def tally(asked: list[Scene], seen: list[Scene]) -> Shares:
    """The mean of each row over the pictures it was judged on."""
    judged = [judge(a, s) for a, s in zip(asked, seen, strict=True)]
    values = {name: [right[name] for right in judged if name in right] for name in ROWS}
    return {name: share(v) for name, v in values.items() if v}
