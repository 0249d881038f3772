r"""How much pictures of one prompt differ in what the prompt does not specify.

Maps       readings of pictures of short prompts  ->  mean distance, entropy of each attribute
Tests      tests/evaluation/test_diversity.py
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import count, islice
from statistics import fmean

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.evaluation.draw_and_read import SEED
from labml_sd.evaluation.frechet import Axes
from labml_sd.evaluation.probe import Readings
from labml_sd.tiny.scenes import KINDS, Scene

OPEN_PROMPTS = tuple(f"a {kind}" for kind in KINDS)
"""Prompts that only name a kind."""
OPEN = ("sky", "ground", "light", "colour", "place", "size")


def pairwise_distance(points: Float[Tensor, "n d"]) -> float:
    r"""Mean distance between two different points of a set of at least two.

    $$ D = \frac{2}{n(n-1)} \sum_{i<j} |y_i - y_j| $$
    """
    return float(torch.nn.functional.pdist(points).mean())


def entropy(values: Sequence[str]) -> float:
    r"""Entropy of the distribution of values, in bits: $\log_2 k$ for k equally frequent ones.

    $$ H = -\sum_v p_v \log_2 p_v $$

    Biased downwards for few values: compare it only between sets of equal size.
    """
    shares = [n / len(values) for n in Counter(values).values()]
    return math.fsum(-p * math.log2(p) for p in shares)


def open_scenes(n: int) -> list[Scene]:
    """For each open prompt, `n` scenes with that kind: the diversity of the training data."""

    def of_kind(kind: str) -> list[Scene]:
        scenes = (Scene.sample(SEED, i, n_objects=1) for i in count())
        return list(islice((s for s in scenes if s.objects[0].kind == kind), n))

    return [scene for kind in KINDS for scene in of_kind(kind)]


def diversity(seen: Readings, axes: Axes) -> dict[str, float]:
    """Mean distance, mean entropy and the entropy of each attribute, averaged over the prompts.

    `seen` are readings of pictures of the open prompts, equally many for each, in order. The
    distance is between features projected on `axes`, in units of their standard deviations.
    """
    n = len(seen.scenes) // len(OPEN_PROMPTS)
    points = torch.split(axes(seen.features), n)
    values = [open_attributes(scene, KINDS[i // n]) for i, scene in enumerate(seen.scenes)]
    by_prompt = [values[first : first + n] for first in range(0, len(values), n)]
    bits = {
        name: fmean(entropy([v[name] for v in prompt]) for prompt in by_prompt) for name in OPEN
    }
    distance = fmean(pairwise_distance(p) for p in points)
    return {"distance": distance, "entropy": fmean(bits.values())} | bits


def open_attributes(scene: Scene, kind: str) -> dict[str, str]:
    """The values of `OPEN`; those of an object are "missing" if none has that kind."""
    item = next((vars(o) for o in scene.objects if o.kind == kind), {})
    flat = {"sky": scene.sky, "ground": scene.ground, "light": scene.light or "none"}
    return flat | {name: item.get(name, "missing") for name in OPEN[3:]}
