r"""What most samplers share: which levels a run visits.

Maps       schedule, n_steps  ->  n_steps + 1 levels, noisy to clean
Tests      tests/sampler/test_every_sampler.py
"""

from dataclasses import dataclass

from labml_sd.sampler.schedule import CLEAN, Level, Schedule
from labml_sd.sampler.spacing import Spacing, visited


@dataclass(frozen=True)
class Solver:
    """A sampler that visits the levels of a spacing and ends without noise."""

    spacing: Spacing = "trailing"

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """The visited levels, then CLEAN."""
        return [*visited(schedule, self.spacing, n_steps), CLEAN]
