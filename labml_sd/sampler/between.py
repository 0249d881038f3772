r"""A level with another one attached: where a sampler evaluates a second time, inside its step.

Maps       levels [n + 1]  ->  the same levels, each but the last with a level in between
Tests      tests/sampler/test_between.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from labml_sd.sampler.schedule import Level, Schedule


@dataclass(frozen=True)
class LevelWithBetween(Level):
    """A visited level, with the level of the second evaluation of the step that starts here."""

    between: Level


def with_between(
    schedule: Schedule, levels: Sequence[Level], share: float = 0.5
) -> list[Level]:
    r"""Add levels, at a share r of the step in log sigma: $\sigma_t^{1-r}\sigma_s^r$.

    Before a level without noise there is no such point, since its log is infinite: that step
    gets none, and a sampler makes it with one evaluation. The time of the level in between is
    fractional, that of `Schedule.at_sigma`.
    """
    listed: list[Level] = []
    for here, there in pairwise(levels):
        if there.alpha_bar == 1:
            listed.append(here)
            continue
        sigma = math.exp((1 - share) * math.log(here.sigma) + share * math.log(there.sigma))
        listed.append(
            LevelWithBetween(here.t, here.alpha_bar, between=schedule.at_sigma(sigma))
        )
    return [*listed, levels[-1]]
