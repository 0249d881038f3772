r"""Spacing: which of the 1000 trained times a short run visits.

Room       sampler, called by every sampler's `levels`
Maps       a spacing and n_steps  ->  n_steps distinct times, from noisy to clean
Paper      Lin et al. 2023, arXiv:2305.08891, table 2; for quadratic Song et al. 2021 (DDIM), appendix D
Reference  CompVis ldm/modules/diffusionmodules/util.py, make_ddim_timesteps, where n_steps divides 1000
See        tests/sampler/test_spacing.py
"""

import math

from labml_sd.errors import GenerationError
from labml_sd.sampler.schedule import Level, Schedule

SPACINGS = ("trailing", "uniform", "leading", "quadratic")


def check_steps(n_steps: object, n_train_steps: int = 1000) -> int:
    """Give a step count back, or raise GenerationError when it is no whole number in 1..n_train_steps."""
    if isinstance(n_steps, bool) or not isinstance(n_steps, int) or not 1 <= n_steps <= n_train_steps:
        raise GenerationError(f"steps is {n_steps!r}; give a whole number from 1 to {n_train_steps}")
    return n_steps


def timesteps(spacing: str, n_steps: int, n_train_steps: int = 1000) -> tuple[int, ...]:
    """Choose exactly n_steps distinct times in 0..n_train_steps-1, decreasing.

    - "trailing" (the default everywhere) starts at the noisiest time, as the run does, and ends above 0.
    - "uniform", also called "leading", is CompVis' list: it ends at t = 1 and starts below the noisiest time.
    - "quadratic" is even in the square root of t: most steps are spent where little noise is left.

    GenerationError when the spacing is unknown or n_steps is outside 1..n_train_steps.
    """
    check_steps(n_steps, n_train_steps)
    if spacing == "trailing":
        return tuple(round(n_train_steps - i * n_train_steps / n_steps) - 1 for i in range(n_steps))
    # Times are shifted up by one, except when all of them are asked for: there is no time 1000.
    lowest = 1 if n_steps < n_train_steps else 0
    if spacing in ("uniform", "leading"):
        return tuple(i * n_train_steps // n_steps + lowest for i in reversed(range(n_steps)))
    if spacing == "quadratic":
        return _quadratic(n_steps, lowest, n_train_steps - 1)
    raise GenerationError(f"unknown spacing {spacing!r}; choose one of {', '.join(SPACINGS)}")


def _quadratic(n_steps: int, lowest: int, highest: int) -> tuple[int, ...]:
    r"""$t_i = (\sqrt{t_{lo}} + \frac{i}{n-1}(\sqrt{t_{hi}} - \sqrt{t_{lo}}))^2$, pushed up where two meet.

    Pushing never passes the top: the curve is convex, so it stays below the line of slope 1 into its end.
    """
    if n_steps == 1:
        return (highest,)
    root, stride = math.sqrt(lowest), (math.sqrt(highest) - math.sqrt(lowest)) / (n_steps - 1)
    ascending: list[int] = []
    for i in range(n_steps):
        t = round((root + i * stride) ** 2)
        ascending.append(max(t, ascending[-1] + 1) if ascending else t)
    return tuple(reversed(ascending))


def visited(schedule: Schedule, spacing: str, n_steps: int) -> list[Level]:
    """The levels of the chosen times, noisy to clean; the level that ends the run is the sampler's to add."""
    return [schedule.level(t) for t in timesteps(spacing, n_steps, schedule.n_steps)]
