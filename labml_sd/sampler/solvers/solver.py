r"""What most samplers share: which levels a run visits.

Maps       schedule, n_steps  ->  n_steps + 1 levels, noisy to clean
Tests      tests/sampler/test_every_sampler.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from labml_sd.sampler.protocol import Sampler
from labml_sd.sampler.schedule import CLEAN, Level, Schedule
from labml_sd.sampler.spacing import Spacing, visited


@dataclass(frozen=True)
class Solver(Sampler):
    """A sampler that visits the levels of a spacing and ends without noise."""

    evaluations_per_step: ClassVar[int] = 1

    spacing: Spacing = "trailing"

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """The visited levels, then CLEAN."""
        return self.completed(schedule, [*visited(schedule, self.spacing, n_steps), CLEAN])

    def completed(self, schedule: Schedule, levels: Sequence[Level]) -> list[Level]:
        """Any list of levels, each with what its step needs besides: a level in between."""
        return list(levels)
