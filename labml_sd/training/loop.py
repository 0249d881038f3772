r"""One training loop for all stages: learn, log, save, go on where it stopped.

Maps       a task (networks and a loss)  ->  trained networks, a curve, a checkpoint
Tests      tests/training/test_loop.py

Data and noise of a step are a pure function of (seed, step). So a checkpoint needs no state of
any generator, and a run that was killed and resumed gives the same weights, bit for bit, as one
that was not.
"""

import math
import time
from pathlib import Path
from typing import Never

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labml_sd.tiny.recipe import StageRecipe
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.run import Run, Task
from labml_sd.utilities.interrupt import Interrupt

SAVE_EVERY = 60.0  # seconds
LOG_EVERY = 10  # steps; the first hundred, where most is learnt, are logged one by one
LOG_ALL = 100
# When a budget in minutes is turned into a number of steps: at this step, or after this share
# of the budget.
PLAN_AT = 30
PLAN_SHARE = 0.1
SAVED = "stopped and saved at step {}; the same command goes on from there"


def train(
    task: Task,
    folder: Path,
    *,
    n_steps: int | None = None,
    minutes: float | None = None,
    picture_every: float = 60.0,
    progress: bool = True,
    processes: Processes = ALONE,
) -> nn.Module:
    """Train to the end, or go on from a checkpoint in `folder`; return the averaged networks.

    `n_steps` wins over `minutes`; with neither, the checkpoint's number of steps is run, or the
    recipe's. A budget in minutes is turned into a number of steps once the speed is known, and
    that number is kept in the checkpoint: the learning rate follows steps, never the clock.
    Ctrl-C (KeyboardInterrupt) comes after the step in hand, and the run is saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(task, folder, n_steps, processes)
    run.load()
    if run.n_steps is None and minutes is None:
        run.n_steps = task.recipe.n_steps
    started, first = time.monotonic(), run.step
    save, show = Every(SAVE_EVERY), Every(picture_every)
    with Interrupt() as interrupt, progress_bar(run, progress) as bar:
        try:
            while run.n_steps is None or run.step < run.n_steps:
                losses = one_step(run)
                if run.n_steps is None:
                    seconds = processes.agree(time.monotonic() - started)
                    run.n_steps = bar.total = plan(
                        run.step, run.step - first, seconds, minutes or 0.0
                    )
                if run.step % LOG_EVERY == 0 or run.step <= LOG_ALL:
                    bar.set_postfix(log(run, losses))
                bar.update(1)
                if save.due():
                    run.save()
                if show.due():
                    run.show()
                if processes.any(interrupt.asked):
                    raise KeyboardInterrupt(f"{task.name}: {SAVED.format(run.step)}")
        finally:
            run.save()
    run.show()
    processes.wait()  # for the main process's files
    return run.average


class Every:
    """Tells when so many seconds have passed since it last did."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, time.monotonic()

    def due(self) -> bool:
        """Whether it is time again."""
        now = time.monotonic()
        is_due = now - self.last > self.seconds
        self.last = now if is_due else self.last
        return is_due


def progress_bar(run: Run, progress: bool) -> "tqdm[Never]":
    """The steps that are done and to do, in the main process."""
    hidden = not (progress and run.processes.is_main)
    return tqdm(
        total=run.n_steps,
        initial=run.step,
        desc=run.task.name,
        disable=hidden,
        dynamic_ncols=True,
    )


def one_step(run: Run) -> dict[str, Tensor]:
    """Loss, gradient, clip, update, average."""
    recipe, n_steps = run.task.recipe, run.n_steps or 10**9
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, run.step, n_steps)
    run.task.networks.train()
    losses = run.task.losses(run.step, run.step / n_steps)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    run.processes.average_gradients(run.task.networks)
    nn.utils.clip_grad_norm_(run.task.networks.parameters(), recipe.grad_clip)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    if run.average is not run.task.networks:
        update_average(run.average, run.task.networks, recipe.ema_decay, run.step)
    run.step += 1
    return {k: v.detach() for k, v in losses.items()}


def log(run: Run, losses: dict[str, Tensor]) -> dict[str, str]:
    """Add the losses of the step to the curve, and give them as words for the progress bar."""
    values = run.processes.mean(list(losses.values()))
    row = {name: float(value) for name, value in zip(losses, values, strict=True)}
    run.curve.append({"step": float(run.step)} | row)
    return {name: f"{value:.4f}" for name, value in row.items()}


def learning_rate(recipe: StageRecipe, step: int, n_steps: int) -> float:
    r"""Linear warm-up, then half a cosine down to 1/50; the same anew from each of `recipe.restarts` on.

    $$ \eta(p) = \eta_0 \left( 0.02 + 0.98 \cdot \tfrac{1}{2}(1 + \cos \pi p) \right) $$

    p runs from 0 to 1 between two restarts: SGDR, Loshchilov and Hutter 2017, arXiv:1608.03983,
    eq. 5.
    """
    begin = max((s for s in recipe.restarts if s <= step), default=0)
    end = min((s for s in (*recipe.restarts, n_steps) if s > step), default=n_steps)
    length = max(1, end - begin)
    warmup = min(
        recipe.warmup, max(1.0, length / 10)
    )  # a run of a minute must not be spent on warming up
    warm = min(1.0, (step - begin + 1) / warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - begin) / length)))
    return recipe.learning_rate * warm * (0.02 + 0.98 * cosine)


def update_average(average: nn.Module, networks: nn.Module, decay: float, step: int) -> None:
    r"""Exponential moving average of the weights, in place: it is the loop's own copy.

    $$ \bar w \leftarrow d\,\bar w + (1 - d)\,w, \qquad d = \min(decay, (1 + step) / (10 + step)) $$

    The ramp lets go of the random first weights (CompVis ldm/modules/ema.py uses the same).
    """
    d = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, weight in zip(average.parameters(), networks.parameters(), strict=True):
            mean.lerp_(weight, 1.0 - d)


def plan(step: int, timed: int, seconds: float, minutes: float) -> int | None:
    """The number of steps that fits into a budget, or None while the speed is not known well enough."""
    if timed < PLAN_AT and seconds < PLAN_SHARE * 60.0 * minutes:
        return None
    return planned_steps(step, timed, seconds, minutes)


def planned_steps(step: int, timed: int, seconds: float, minutes: float) -> int:
    """How many steps fit into a budget, at the speed of the `timed` steps so far."""
    left = max(0.0, 60.0 * minutes - seconds)
    return step + int(left / (seconds / timed))
