r"""The training loop of all stages: step, log, save, resume.

Maps       a task (networks and a loss)  ->  trained networks, a learning curve, a checkpoint
Tests      tests/training/test_loop.py

Data and noise of a step are a pure function of (seed, step). A checkpoint therefore needs no
generator state, and a run that was interrupted and resumed gives bit-identical weights.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labml_sd.tiny.recipe import StageRecipe
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.run import Run, Task
from labml_sd.utilities.interrupt import Interrupt

SAVE_EVERY = 60.0  # seconds
LOG_EVERY = 10  # steps
LOG_ALL = 100  # the first steps, in which the loss falls fastest, are all logged
# A budget in minutes becomes a number of steps after this many steps, or after this share of
# the budget, whichever comes first.
PLAN_AT = 30
PLAN_SHARE = 0.1
SAVED = "stopped and saved at step {}; the same command resumes from there"


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
    """Train from the start or from the checkpoint in `folder`; return the averaged networks.

    `n_steps` takes precedence over `minutes`; without both, the number of steps is the
    checkpoint's, or else the recipe's. A budget in minutes becomes a number of steps once the
    speed is known, and that number is saved in the checkpoint, so the learning rate depends on
    steps only, never on the clock. Ctrl-C raises KeyboardInterrupt after the current step; the
    run is saved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(task, folder, n_steps, processes)
    run.load()
    if run.n_steps is None and minutes is None:
        run.n_steps = task.recipe.n_steps
    first, started = run.step, time.monotonic()
    saved = shown = started
    style: Any = {"disable": not (progress and processes.is_main), "dynamic_ncols": True}
    bar = tqdm(initial=run.step, total=run.n_steps, desc=task.name, **style)
    with Interrupt() as interrupt, bar:
        try:
            while run.n_steps is None or run.step < run.n_steps:
                losses = one_step(run)
                if run.n_steps is None:
                    elapsed = torch.tensor(time.monotonic() - started, dtype=torch.float64)
                    (seconds,) = processes.mean([elapsed])  # so that all plan the same
                    timed, budget = run.step - first, minutes or 0.0
                    run.n_steps = bar.total = plan(run.step, timed, float(seconds), budget)
                if run.step % LOG_EVERY == 0 or run.step <= LOG_ALL:
                    bar.set_postfix(log(run, losses))
                bar.update(1)
                if time.monotonic() - saved > SAVE_EVERY:
                    saved = time.monotonic()
                    run.save()
                if time.monotonic() - shown > picture_every:
                    shown = time.monotonic()
                    run.show()
                if processes.any(interrupt.asked):
                    raise KeyboardInterrupt(f"{task.name}: {SAVED.format(run.step)}")
        finally:
            run.save()
    run.show()
    processes.wait()  # until the main process has written its files
    return run.average


def one_step(run: Run) -> dict[str, Tensor]:
    """One training step: loss, gradients, clipping, update, moving average."""
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
    """Append the losses of the step to the curve; return them as text for the progress bar."""
    values = run.processes.mean(list(losses.values()))
    row = {name: float(value) for name, value in zip(losses, values, strict=True)}
    run.curve.append({"step": float(run.step)} | row)
    return {name: f"{value:.4f}" for name, value in row.items()}


def learning_rate(recipe: StageRecipe, step: int, n_steps: int) -> float:
    r"""Linear warm-up, then half a cosine down to 1/50; again from each of `recipe.restarts`.

    $$ \eta(p) = \eta_0 \left( 0.02 + 0.98 \cdot \tfrac{1}{2}(1 + \cos \pi p) \right) $$

    p runs from 0 to 1 between two restarts (SGDR, arXiv:1608.03983, eq. 5).
    """
    begin = max((s for s in recipe.restarts if s <= step), default=0)
    end = min((s for s in (*recipe.restarts, n_steps) if s > step), default=n_steps)
    length = max(1, end - begin)
    warmup = min(recipe.warmup, max(1.0, length / 10))  # a tenth of a short run at most
    warm = min(1.0, (step - begin + 1) / warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - begin) / length)))
    return recipe.learning_rate * warm * (0.02 + 0.98 * cosine)


def update_average(average: nn.Module, networks: nn.Module, decay: float, step: int) -> None:
    r"""Update `average`, an exponential moving average of the weights, in place.

    $$ \bar w \leftarrow d\,\bar w + (1 - d)\,w, \qquad
       d = \min(decay, (1 + step) / (10 + step)) $$

    The small d of the first steps forgets the random initial weights (as in CompVis
    ldm/modules/ema.py).
    """
    d = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, weight in zip(average.parameters(), networks.parameters(), strict=True):
            mean.lerp_(weight, 1.0 - d)


def plan(step: int, timed: int, seconds: float, minutes: float) -> int | None:
    """The number of steps that fits into a budget at the speed of the last `timed` ones.

    None while the speed is too uncertain.
    """
    if timed < PLAN_AT and seconds < PLAN_SHARE * 60.0 * minutes:
        return None
    left = max(0.0, 60.0 * minutes - seconds)
    return step + int(left / (seconds / timed))
