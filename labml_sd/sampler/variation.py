r"""Variations: the noise of one seed moved towards that of another, for similar pictures.

Maps       the noise of two seeds [c h w], a strength in [0, 1]  ->  noise in between [c h w]
Paper      Shoemake 1985, "Animating rotation with quaternion curves", section 3.3 (slerp)
Reference  AUTOMATIC1111's web UI, modules/rng.py: which noise is moved, and along which axis
Tests      tests/sampler/test_variation.py
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError, quoted
from labml_sd.utilities.numbers import real_number


@dataclass(frozen=True)
class Variation:
    """A variation seed for each image, and how far to move the noise towards that seed's."""

    seeds: tuple[int, ...]
    strength: float | int

    def __post_init__(self) -> None:
        """Refuse a strength outside 0..1."""
        share = real_number(self.strength)
        if share is None or not 0 <= share <= 1:
            raise GenerationError(
                f"variation_strength is {quoted(self.strength)}; "
                "give a number from 0 (the seed's own noise) to 1 (the variation seed's)"
            )


def slerp(
    start: Float[Tensor, "c h w"], end: Float[Tensor, "c h w"], strength: float | int
) -> Float[Tensor, "c h w"]:
    r"""Interpolate between two noises along an arc, which keeps the length of a noise vector.

    $$ \frac{\sin((1 - s)\,\omega)}{\sin \omega}\, a + \frac{\sin(s\,\omega)}{\sin \omega}\, b,
       \qquad \cos \omega = \frac{a \cdot b}{|a|\,|b|} $$

    a and b are columns of the latent, h numbers each, as in the web UI. Where two of them are
    nearly parallel, no arc is defined, and the weights are 1 - s and s.
    """
    a, b = start.double(), end.double()
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1, eps=0).unsqueeze(1).clamp(-1, 1)
    omega = cosine.acos()  # [c 1 w]: the angle between two columns
    sine = omega.sin()
    is_arc = sine > 1e-4
    weight_a = torch.where(is_arc, ((1 - strength) * omega).sin() / sine, 1 - strength)
    weight_b = torch.where(is_arc, (strength * omega).sin() / sine, strength)
    return (weight_a * a + weight_b * b).to(start.dtype)


def varied(
    stream: Iterator[Tensor], other: Iterator[Tensor], strength: float | int
) -> Iterator[Tensor]:
    """The draws of `stream`, the first of them moved; the steps' noise is not changed."""
    yield slerp(next(stream), next(other), strength)
    yield from stream
