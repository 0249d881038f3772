from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from labml_sd.config import ScheduleConfig
from labml_sd.sampler import Level, Schedule


@dataclass
class Gaussian:
    """The perfect denoiser of data that is normal with a given std; it remembers where it was asked."""

    data_std: float
    asked_at: list[float] = field(default_factory=list)

    def variance(self, level: Level) -> float:
        return level.alpha_bar * self.data_std**2 + 1 - level.alpha_bar

    def __call__(self, x: Tensor, level: Level) -> Tensor:
        self.asked_at.append(level.t)
        return (1 - level.alpha_bar) ** 0.5 * x / self.variance(level)

    def exact(self, x: Tensor, here: Level, there: Level) -> Tensor:
        """Where the probability-flow ODE brings x: it keeps x over its own std."""
        return x * (self.variance(there) / self.variance(here)) ** 0.5


@pytest.fixture(scope="session")
def schedule() -> Schedule:
    return Schedule(ScheduleConfig())


@pytest.fixture
def gaussian() -> type[Gaussian]:
    return Gaussian


@pytest.fixture
def randn() -> Callable[..., Tensor]:
    """Each call draws fresh float64 noise from one generator."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape or (2, 4, 3, 5), dtype=torch.float64, generator=generator)

    return draw


@pytest.fixture
def no_draw() -> Callable[[], Tensor]:
    def draw() -> Tensor:
        raise AssertionError("noise was drawn")

    return draw
