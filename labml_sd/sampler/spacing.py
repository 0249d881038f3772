r"""Spacing: which noise levels a short run visits, of the 1000 trained ones and between them.

Maps       a spacing and n_steps  ->  n_steps distinct times, and their levels, noisy to clean
Paper      Lin et al. 2023, arXiv:2305.08891, table 2; Song et al. 2021 (DDIM), appendix D
           (quadratic)
Reference  CompVis ldm/modules/diffusionmodules/util.py, make_ddim_timesteps, where n_steps
           divides 1000
Tests      tests/sampler/test_spacing.py
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from labml_sd.errors import GenerationError, quoted
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.sigmas import exponential_sigmas, karras_sigmas
from labml_sd.utilities.numbers import real_number, whole_number

Spacing = str | tuple[float | int, ...] | list[float | int]
"""One of SPACINGS, or the times themselves, decreasing, maybe fractional: (999, 640.5, 80)."""

BY_TIME = ("trailing", "uniform", "leading", "quadratic")
BY_SIGMA: dict[str, Callable[[int, float, float], tuple[float, ...]]] = {
    "karras": karras_sigmas,
    "exponential": exponential_sigmas,
}
SPACINGS = (*BY_TIME, "linspace", *BY_SIGMA)


def check_steps(n_steps: object, n_train_steps: int = 1000) -> int:
    """Give a step count back; GenerationError unless it is an int in 1..n_train_steps."""
    steps = whole_number(n_steps)
    if steps is None or not 1 <= steps <= n_train_steps:
        raise GenerationError(
            f"steps is {quoted(n_steps)}; give a whole number from 1 to {n_train_steps}"
        )
    return steps


def timesteps(spacing: str, n_steps: int, n_train_steps: int = 1000) -> tuple[int, ...]:
    """Choose exactly n_steps distinct times in 0..n_train_steps-1, decreasing.

    - "trailing" (the default) starts at the noisiest time, as the run does, and ends above 0.
    - "uniform", also called "leading", is CompVis' list: it ends at t = 1 and starts below the
      noisiest time.
    - "quadratic" is even in the square root of t: most steps are at low noise.

    GenerationError when the spacing is unknown or n_steps is outside 1..n_train_steps.
    """
    n_steps = check_steps(n_steps, n_train_steps)
    if spacing == "trailing":
        return tuple(
            round(n_train_steps - i * n_train_steps / n_steps) - 1 for i in range(n_steps)
        )
    # Times are shifted up by one, except when all are visited: there is no time 1000.
    lowest = 1 if n_steps < n_train_steps else 0
    if spacing in ("uniform", "leading"):
        return tuple(i * n_train_steps // n_steps + lowest for i in reversed(range(n_steps)))
    if spacing == "quadratic":
        return _quadratic(n_steps, lowest, n_train_steps - 1)
    raise GenerationError(
        f"unknown spacing {spacing!r} of whole times; choose one of {', '.join(BY_TIME)}"
    )


def _quadratic(n_steps: int, lowest: int, highest: int) -> tuple[int, ...]:
    r"""$t_i = (\sqrt{t_{lo}} + \frac{i}{n-1}(\sqrt{t_{hi}} - \sqrt{t_{lo}}))^2$, made distinct.

    Rounded times that are equal are moved up by one. That never passes `highest`: the curve is
    convex, so it stays below the line of slope 1 into its end.
    """
    if n_steps == 1:
        return (highest,)
    root, stride = math.sqrt(lowest), (math.sqrt(highest) - math.sqrt(lowest)) / (n_steps - 1)
    ascending: list[int] = []
    for i in range(n_steps):
        t = round((root + i * stride) ** 2)
        ascending.append(max(t, ascending[-1] + 1) if ascending else t)
    return tuple(reversed(ascending))


def visited(schedule: Schedule, spacing: Spacing, n_steps: int) -> list[Level]:
    """The n_steps levels that a run visits, noisy to clean, without the one it ends at.

    The spacings of `timesteps` visit whole times. "linspace" is even in time from the highest
    to the lowest level of the schedule, as in k-diffusion; "karras" and "exponential" are
    spaced by sigma between the same ends. Their times are fractions. A list of times is taken
    as it is.

    GenerationError when the spacing is unknown, n_steps is out of range, or a list of times
    has the wrong length, order or range.
    """
    n_steps = check_steps(n_steps, schedule.n_steps)
    if isinstance(spacing, tuple | list):
        return _given_times(schedule, spacing, n_steps)
    if spacing in BY_SIGMA:
        highest, lowest = schedule.level(schedule.n_steps - 1), schedule.level(0)
        sigmas = BY_SIGMA[spacing](n_steps, highest.sigma, lowest.sigma)
        # The ends are taken from the table: rounding would move them off whole times.
        return [highest, *map(schedule.at_sigma, sigmas[1:-1]), lowest][:n_steps]
    if spacing not in SPACINGS:
        raise GenerationError(
            f"unknown spacing {spacing!r}; choose one of {', '.join(SPACINGS)}, "
            "or give a list of times"
        )
    if spacing == "linspace":
        last = schedule.n_steps - 1
        return [schedule.level(last - last * i / max(1, n_steps - 1)) for i in range(n_steps)]
    return [schedule.level(t) for t in timesteps(spacing, n_steps, schedule.n_steps)]


def _given_times(schedule: Schedule, times: Sequence[object], n_steps: int) -> list[Level]:
    """Check a list of times and give their levels."""
    if len(times) != n_steps:
        raise GenerationError(
            f"{len(times)} times for {n_steps} steps; give as many times as steps"
        )
    highest, checked = schedule.n_steps - 1, []
    for t in times:
        time = real_number(t)
        if time is None or not 0 <= time <= highest:
            raise GenerationError(
                f"time {t!r} is out of range; give numbers from {highest} down to 0"
            )
        checked.append(time)
    for earlier, later in pairwise(checked):
        if not earlier > later:
            raise GenerationError(
                f"times go from {earlier:g} to {later:g}; each must be below the one before"
            )
    return [schedule.level(time) for time in checked]
