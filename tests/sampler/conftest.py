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
from labml_sd.sampler import (
    Evaluation,
    Level,
    Moment,
    Prediction,
    Sampler,
    Schedule,
    StepInput,
    from_eps,
    from_v,
    sample,
)


@dataclass
class Gaussian:
    """The exact denoiser of normal data with a given std. It records the times of its calls."""

    data_std: float
    asked_at: list[float] = field(default_factory=list)

    def variance(self, level: Level) -> float:
        return level.alpha_bar * self.data_std**2 + 1 - level.alpha_bar

    def eps(self, x: Tensor, level: Level) -> Tensor:
        self.asked_at.append(level.t)
        return (1 - level.alpha_bar) ** 0.5 * x / self.variance(level)

    def __call__(self, x: Tensor, moment: Moment) -> Prediction:
        return from_eps(x, self.eps(x, moment.level), moment.level)

    def exact(self, x: Tensor, here: Level, there: Level) -> Tensor:
        """Where the probability-flow ODE brings x: it keeps x divided by its std."""
        return x * (self.variance(there) / self.variance(here)) ** 0.5


@dataclass
class Mixture:
    """The exact denoiser of data from two normal distributions: not linear, unlike Gaussian."""

    weights: tuple[float, float] = (0.4, 0.6)
    means: tuple[float, float] = (-1.0, 1.5)
    stds: tuple[float, float] = (0.5, 0.8)
    asked_at: list[float] = field(default_factory=list)

    def parts(self, x: Tensor, level: Level) -> list[tuple[float, Tensor, float]]:
        """Of each component at a level: weight, distance of x from the mean, and variance."""
        signal, noise = level.alpha_bar, 1 - level.alpha_bar
        each = zip(self.weights, self.means, self.stds, strict=True)
        return [
            (weight, x - signal**0.5 * mean, signal * std**2 + noise)
            for weight, mean, std in each
        ]

    def __call__(self, x: Tensor, moment: Moment) -> Prediction:
        return from_eps(x, self.eps(x, moment.level), moment.level)

    def eps(self, x: Tensor, level: Level) -> Tensor:
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
        """Where the probability-flow ODE brings x: one-dimensional paths keep their order."""
        rank, low, high = self.below(x, here), torch.full_like(x, -20), torch.full_like(x, 20)
        for _ in range(60):
            middle = (low + high) / 2
            is_low = self.below(middle, there) < rank
            low, high = torch.where(is_low, middle, low), torch.where(is_low, high, middle)
        return (low + high) / 2


class MixtureByV(Mixture):
    """The same by its v, as a network that predicts v is used."""

    def __call__(self, x: Tensor, moment: Moment) -> Prediction:
        signal, spread = moment.level.alpha_bar**0.5, (1 - moment.level.alpha_bar) ** 0.5
        eps = self.eps(x, moment.level)
        x0 = (x - spread * eps) / signal
        return from_v(x, signal * eps - spread * x0, moment.level)


DENOISERS: dict[str, Callable[[], Any]] = {
    "std 0.5": lambda: Gaussian(0.5),
    "std 2": lambda: Gaussian(2.0),
    "mixture": Mixture,
    "mixture, v predicted": MixtureByV,
}


@dataclass
class ErrorOf:
    """The error against the exact ODE, on levels even in log sigma that end above zero."""

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
        """The order: the power of the number of steps with which the error falls."""
        errors = [
            self(sampler, data, (make_levels or self.levels)(n_steps)) for n_steps in counts
        ]
        return -float(np.polyfit(np.log(counts), np.log(errors), 1)[0])


def refuse_to_draw() -> Tensor:
    raise AssertionError("noise was drawn")


@pytest.fixture(params=DENOISERS)
def data(request: pytest.FixtureRequest) -> str:
    """The name of a data distribution whose denoiser and ODE are known in closed form."""
    return request.param


@pytest.fixture
def denoiser() -> Callable[[str], Any]:
    """Makes the exact denoiser of a named data distribution."""
    return lambda name: DENOISERS[name]()


@pytest.fixture
def error_of(schedule: Schedule) -> ErrorOf:
    """Measures errors and orders of samplers, from starting values that cover the noise."""
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
def evaluated() -> Callable[[Level, Tensor, Tensor], Evaluation]:
    """Makes an evaluation from a predicted eps."""

    def make(level: Level, x: Tensor, eps: Tensor) -> Evaluation:
        return Evaluation(level, x, eps, from_eps(x, eps, level).x0)

    return make


@pytest.fixture
def one_step(evaluated: Callable[..., Evaluation]) -> Callable[..., Tensor]:
    """One step of a sampler, with a function (x, level) -> eps in place of the network."""

    def make(
        sampler: Sampler,
        eps_of: Callable[[Tensor, Level], Tensor],
        x: Tensor,
        here: Level,
        there: Level,
        draw: Callable[[], Tensor] = refuse_to_draw,
        history: Sequence[Evaluation] = (),
    ) -> Tensor:
        def evaluate(x: Tensor, level: Level) -> Evaluation:
            return evaluated(level, x, eps_of(x, level))

        return sampler.step(StepInput(evaluate, x, here, there, draw, history))

    return make


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
    """Runs a diffusers scheduler in sigma, from our x at its first sigma to the end."""

    def run(scheduler: Any, denoise: Any, x: Tensor) -> Tensor:
        scheduler.set_begin_index(0)
        x_sigma = x * (1 + scheduler.sigmas[0] ** 2) ** 0.5
        for t in scheduler.timesteps:
            # Its level follows from the factor that it divides by.
            x = scheduler.scale_model_input(x_sigma, t)
            level = Level(float(t), ((x / x_sigma).flatten()[0] ** 2).item())
            x_sigma = scheduler.step(denoise.eps(x, level), t, x_sigma).prev_sample
        return x_sigma

    return run


@pytest.fixture
def levels_of(schedule: Schedule) -> Callable[[Sequence[float]], list[Level]]:
    """The levels of a peer's sigmas."""
    return lambda sigmas: [schedule.at_sigma(float(sigma)) for sigma in sigmas]
