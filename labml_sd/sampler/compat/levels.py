r"""The lists of noise levels of other tools.

Maps       a schedule, the steps requested  ->  levels, from the noisiest to the last of the run
Reference  as in sampler/compat/tools.py
Tests      tests/sampler/compat/test_tools.py, tests/parity/test_compat_against_diffusers.py
"""

import copy
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch

from labml_sd.sampler.schedule import CLEAN, Level, Schedule
from labml_sd.sampler.spacing import BY_SIGMA

Levels = Callable[[Schedule, int], list[Level]]
"""(schedule, steps requested) -> the levels of a run."""


def rounded_to_float32(schedule: Schedule) -> Schedule:
    """Tables computed in float64 and stored in float32, as in CompVis, labml and the web UI."""
    return _with_alpha_bar(schedule, schedule.alpha_bar.float())


def computed_in_float32(schedule: Schedule) -> Schedule:
    """Tables computed in float32 from the first and the last beta, as in diffusers."""
    start, end = math.sqrt(schedule.beta[0]), math.sqrt(schedule.beta[-1])
    root = torch.linspace(start, end, schedule.n_steps, dtype=torch.float32, device="cpu")
    return _with_alpha_bar(schedule, torch.cumprod(1 - root**2, dim=0))


def _with_alpha_bar(schedule: Schedule, alpha_bar: torch.Tensor) -> Schedule:
    other = copy.copy(schedule)
    other.alpha_bar = alpha_bar.double()
    other.log_sigma = 0.5 * torch.log((1 - other.alpha_bar) / other.alpha_bar)
    return other


def _at(schedule: Schedule, times: Iterable[int]) -> list[Level]:
    """Levels of distinct times, decreasing; time 1000, an error in the tools, becomes 999."""
    return [
        schedule.level(t)
        for t in sorted({min(t, schedule.n_steps - 1) for t in times}, reverse=True)
    ]


def every_stride(schedule: Schedule, n_steps: int) -> list[Level]:
    """1, 1 + stride ... to the end: more than n_steps times if n_steps does not divide 1000.

    The web UI runs this list as it is, so the step from t = 1 is never made.
    """
    return _at(
        schedule, (t + 1 for t in range(0, schedule.n_steps, schedule.n_steps // n_steps))
    )


def compvis(schedule: Schedule, n_steps: int) -> list[Level]:
    """Every listed time, then t = 0."""
    return [*every_stride(schedule, n_steps), schedule.level(0)]


def every_time(schedule: Schedule, n_steps: int) -> list[Level]:
    """All 1000 times, whatever n_steps is, then CLEAN."""
    return [*_at(schedule, range(schedule.n_steps)), CLEAN]


def _leading(schedule: Schedule, n_steps: int) -> list[Level]:
    """The lowest n_steps times of `every_stride`: the run starts lower."""
    return _at(schedule, (i * (schedule.n_steps // n_steps) + 1 for i in range(n_steps)))


def diffusers_to_zero(schedule: Schedule, n_steps: int) -> list[Level]:
    """`set_alpha_to_one` false: the last step goes to t = 0."""
    return [*_leading(schedule, n_steps), schedule.level(0)]


def diffusers_to_clean(schedule: Schedule, n_steps: int) -> list[Level]:
    """The last step goes to CLEAN."""
    return [*_leading(schedule, n_steps), CLEAN]


def diffusers_in_sigma(schedule: Schedule, n_steps: int) -> list[Level]:
    """Evenly spaced from 999 to 0, at fractional times: "linspace"."""
    return _interpolated(
        schedule, np.linspace(0, schedule.n_steps - 1, n_steps, dtype=np.float32)[::-1]
    )


def diffusers_multistep(schedule: Schedule, n_steps: int) -> list[Level]:
    """The upper n_steps of n_steps + 1 evenly spaced times from 0 to 999, rounded."""
    even = np.linspace(0, schedule.n_steps - 1, n_steps + 1).round()[1:]
    return _interpolated(schedule, np.unique(even)[::-1])


def _interpolated(schedule: Schedule, times: np.ndarray) -> list[Level]:
    """Sigma, not its logarithm, is linear in t, and rounded, unlike in `Schedule.level`."""
    alpha_bar = schedule.alpha_bar.float()
    table = (((1 - alpha_bar) / alpha_bar) ** 0.5).numpy()
    sigmas = np.interp(times, np.arange(schedule.n_steps), table).astype(np.float32)
    pairs = zip(times.tolist(), sigmas.tolist(), strict=True)
    return [*(Level(t, 1 / (1 + sigma**2)) for t, sigma in pairs), CLEAN]


def k_diffusion(spacing: str, drops_lowest: bool = False) -> Levels:
    """Evenly spaced in t with log sigma linear in it, or spaced by sigma; then CLEAN.

    "linspace" reaches the lowest time, 0; "trailing" stops one stride above it. With
    `drops_lowest` one more level is listed and the lowest left out.
    """

    def levels(schedule: Schedule, n_steps: int) -> list[Level]:
        highest, lowest = schedule.level(schedule.n_steps - 1), schedule.level(0)
        n_levels = n_steps + drops_lowest
        if spacing in BY_SIGMA:
            sigmas = BY_SIGMA[spacing](n_levels, highest.sigma, lowest.sigma)
            found = [highest, *map(schedule.at_sigma, sigmas[1:])]
        else:
            times = np.linspace(highest.t, 0, n_levels + (spacing == "trailing"))
            found = [schedule.level(float(t)) for t in times[:n_levels]]
        return [*found[:n_steps], CLEAN]

    return levels


def web_ui_unipc(schedule: Schedule, n_steps: int) -> list[Level]:
    """Evenly spaced from 999 to 0, as many as CompVis lists; log alpha_bar is linear in t."""
    times = np.linspace(schedule.n_steps - 1, 0, len(every_stride(schedule, n_steps)) + 1)
    log_alpha_bar = np.interp(
        times, np.arange(schedule.n_steps), schedule.alpha_bar.log().numpy()
    )
    return [
        Level(t, math.exp(log))
        for t, log in zip(times.tolist(), log_alpha_bar.tolist(), strict=True)
    ]
