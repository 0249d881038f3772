import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from labml_sd.config import ScheduleConfig
from labml_sd.sampler import Level, Sampler, Schedule, sample


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


@dataclass
class Mixture:
    """The perfect denoiser of data drawn from two normal distributions: bent where Gaussian is straight."""

    weights: tuple[float, float] = (0.4, 0.6)
    means: tuple[float, float] = (-1.0, 1.5)
    stds: tuple[float, float] = (0.5, 0.8)
    asked_at: list[float] = field(default_factory=list)

    def parts(self, x: Tensor, level: Level) -> list[tuple[float, Tensor, float]]:
        """Of each component: its weight, how far x is from its mean, and its variance, at the level."""
        signal, noise = level.alpha_bar, 1 - level.alpha_bar
        each = zip(self.weights, self.means, self.stds, strict=True)
        return [
            (weight, x - signal**0.5 * mean, signal * std**2 + noise)
            for weight, mean, std in each
        ]

    def __call__(self, x: Tensor, level: Level) -> Tensor:
        self.asked_at.append(level.t)
        parts = self.parts(x, level)
        logits = torch.stack(
            [math.log(w) - d**2 / (2 * v) - 0.5 * math.log(v) for w, d, v in parts]
        )
        pulls = torch.stack([d / v for _, d, v in parts])
        return (1 - level.alpha_bar) ** 0.5 * (logits.softmax(0) * pulls).sum(0)

    def below(self, x: Tensor, level: Level) -> Tensor:
        """The share of the level's distribution that lies below x."""
        return sum(w * torch.special.ndtr(d / v**0.5) for w, d, v in self.parts(x, level))

    def exact(self, x: Tensor, here: Level, there: Level) -> Tensor:
        """Where the probability-flow ODE brings x: in one dimension paths do not cross, so ranks stay."""
        rank, low, high = self.below(x, here), torch.full_like(x, -20), torch.full_like(x, 20)
        for _ in range(60):
            middle = (low + high) / 2
            is_low = self.below(middle, there) < rank
            low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
        return (low + high) / 2


DENOISERS: dict[str, Callable[[], Any]] = {
    "std 0.5": lambda: Gaussian(0.5),
    "std 2": lambda: Gaussian(2.0),
    "mixture": Mixture,
}


@dataclass
class ErrorOf:
    """The error of a run that ends above zero, on smooth levels even in log sigma, against the exact ODE."""

    schedule: Schedule
    x: Tensor
    highest: float = 14.6
    lowest: float = 0.5

    def levels(self, n_steps: int) -> list[Level]:
        sigmas = np.geomspace(self.highest, self.lowest, n_steps + 1)
        return [self.schedule.at_sigma(float(sigma)) for sigma in sigmas]

    def run(self, sampler: Sampler, data: str, levels: list[Level]) -> Tensor:
        return sample(
            sampler, DENOISERS[data](), self.x, levels, draw=refuse_to_draw, progress=False
        )

    def __call__(self, sampler: Sampler, data: str, levels: list[Level]) -> float:
        exact = DENOISERS[data]().exact(self.x, levels[0], levels[-1])
        return (
            (self.run(sampler, data, levels) - exact).abs().max() / exact.abs().max()
        ).item()

    def slope(
        self,
        sampler: Sampler,
        data: str,
        counts: Sequence[int] = (20, 40, 80, 160),
        make_levels: Callable[[int], list[Level]] | None = None,
    ) -> float:
        """The order: with which power of the number of steps the error falls, a fit on log-log axes."""
        errors = [
            self(sampler, data, (make_levels or self.levels)(n_steps)) for n_steps in counts
        ]
        return -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])


def refuse_to_draw() -> Tensor:
    raise AssertionError("noise was drawn")


@pytest.fixture(params=DENOISERS)
def data(request: pytest.FixtureRequest) -> str:
    """The name of a data distribution whose perfect denoiser and exact ODE are known."""
    return request.param


@pytest.fixture
def denoiser() -> Callable[[str], Any]:
    """Makes the perfect denoiser of a named data distribution."""
    return lambda name: DENOISERS[name]()


@pytest.fixture
def error_of(schedule: Schedule) -> ErrorOf:
    """Measures errors and orders of samplers on starting values across the whole noise."""
    x = torch.linspace(-2.5, 2.5, 24, dtype=torch.float64).reshape(1, 4, 2, 3)
    return ErrorOf(schedule, x)


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
    return refuse_to_draw


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a diffusers scheduler that computes in float64 and takes its noise from the test.

    Its module sees a torch and a numpy whose float32 is float64: its tables and casts are
    float32 otherwise.
    """

    def make(
        module_name: str, class_name: str, noises: Sequence[Tensor] = (), **settings: Any
    ) -> Any:
        module = import_module(f"diffusers.schedulers.{module_name}")
        for name, wide in (("torch", torch.float64), ("np", np.float64)):
            library = SimpleNamespace(**{**vars(getattr(module, name)), "float32": wide})
            monkeypatch.setattr(module, name, library)
        stream = iter(noises)
        monkeypatch.setattr(
            module, "randn_tensor", lambda *_, **__: next(stream), raising=False
        )
        betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        return getattr(module, class_name)(**betas, **settings)

    return make


@pytest.fixture
def run_peer() -> Callable[..., Tensor]:
    """Runs a diffusers scheduler that works in sigma from our x at its first sigma to the end."""

    def run(scheduler: Any, denoise: Callable[[Tensor, Level], Tensor], x: Tensor) -> Tensor:
        scheduler.set_begin_index(0)
        x_sigma = x * (1 + scheduler.sigmas[0] ** 2) ** 0.5
        for t in scheduler.timesteps:
            # What it divides by tells the level it is at.
            x = scheduler.scale_model_input(x_sigma, t)
            level = Level(float(t), ((x / x_sigma).flatten()[0] ** 2).item())
            x_sigma = scheduler.step(denoise(x, level), t, x_sigma).prev_sample
        return x_sigma

    return run


@pytest.fixture
def levels_of(schedule: Schedule) -> Callable[[Sequence[float]], list[Level]]:
    """The levels of a peer's sigmas."""
    return lambda sigmas: [schedule.at_sigma(float(sigma)) for sigma in sigmas]
