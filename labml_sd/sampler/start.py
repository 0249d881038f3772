r"""Where a run starts: strength cuts off the first levels, so that part of a picture is kept.

Maps       the levels of a whole run, a strength in [0, 1]  ->  the levels that are run
Paper      Meng et al. 2022 (SDEdit), arXiv:2108.01073, section 3
Tests      tests/sampler/test_start.py
"""

import math
from collections.abc import Sequence

from labml_sd.errors import GenerationError, quoted
from labml_sd.sampler.schedule import Level
from labml_sd.utilities.numbers import real_number


def check_strength(strength: object) -> float:
    """Give a strength back as a float; GenerationError unless it is a number in [0, 1]."""
    share = real_number(strength)
    if share is None or not 0 <= share <= 1:
        raise GenerationError(
            f"strength is {quoted(strength)}; "
            "give a number from 0 (keep the image) to 1 (repaint it)"
        )
    return share


def tail(levels: Sequence[Level], strength: float | int) -> list[Level]:
    r"""Keep the last $n = \max(1, \lfloor s\,N \rfloor)$ of the N steps.

    Noise the image to the first level returned, where the first step starts. Strength 1 keeps
    every step; strength 0 keeps none, and only the end level is returned.
    """
    strength = check_strength(strength)
    if strength == 0:
        return list(levels[-1:])
    whole_run = len(levels) - 1
    n_steps = max(1, math.floor(strength * whole_run + 1e-6))  # 0.29 * 100 < 29 in floats
    return list(levels[-(n_steps + 1) :])
