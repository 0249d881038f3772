r"""A level that knows one more: where a sampler evaluates a second time, between two visited levels.

Maps       levels [n + 1]  ->  the same levels, each but the last with the one between it and the next
Tests      tests/sampler/test_between.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from labml_sd.sampler.schedule import Level, Schedule


@dataclass(frozen=True)
class LevelWithBetween(Level):
    """A visited level with the level at which the step that starts here asks the network again."""

    between: Level


def with_between(
    schedule: Schedule, levels: Sequence[Level], share: float = 0.5
) -> list[Level]:
    r"""Put a level between each two, a share of the way in log sigma: $\sigma_b = \sigma_t^{1-r}\sigma_s^r$.

    Before a level without noise there is no such point (its log is infinite): that step gets
    none, and a sampler takes it in one evaluation. The network is told the fractional time of
    `Schedule.at_sigma`.
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
