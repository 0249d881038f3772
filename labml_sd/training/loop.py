r"""One training loop for the three stages: learn, log, save, go on where it stopped.

Room       training, called by command.py
Maps       a task (networks and a loss)  ->  trained networks, a curve, a checkpoint
See        tests/training/test_loop.py

Data and noise of a step are a pure function of (seed, step). So a checkpoint needs no state of any generator,
and a run that was killed and resumed gives the same weights, bit for bit, as one that was not.
"""

import copy
import csv
import math
import os
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from labml_sd.errors import CheckpointError
from labml_sd.training.recipe import StageRecipe

SAVE_EVERY = 120.0  # seconds
LOG_EVERY = 10  # steps
PLAN_AT = 30  # the step at which a budget in minutes is turned into a number of steps
FORMAT = 1


@runtime_checkable
class Task(Protocol):
    """What a stage has to say for itself."""

    name: str
    networks: nn.Module  # all that is trained

    @property
    def recipe(self) -> StageRecipe:
        """The numbers of the stage."""
        ...

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """Scalars of one step; `loss` is made small, the others are only logged. `progress`: 0 to 1."""
        ...

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Draw what has been learnt so far."""
        ...


def learning_rate(recipe: StageRecipe, step: int, n_steps: int) -> float:
    r"""Linear warm-up, then half a cosine down to 1/50; the same anew from each of `recipe.restarts` on.

    $$ \eta(p) = \eta_0 \left( 0.02 + 0.98 \cdot \tfrac{1}{2}(1 + \cos \pi p) \right) $$

    p runs from 0 to 1 between two restarts: SGDR, Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5.
    """
    begin = max((s for s in recipe.restarts if s <= step), default=0)
    end = min((s for s in (*recipe.restarts, n_steps) if s > step), default=n_steps)
    warm = min(1.0, (step - begin + 1) / recipe.warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - begin) / max(1, end - begin))))
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


class Run:
    """Networks, optimiser, average and step count: all that a checkpoint holds."""

    def __init__(self, task: Task, folder: Path, n_steps: int | None) -> None:
        self.task, self.folder = task, folder
        self.step, self.n_steps = 0, n_steps
        weights = [p for p in task.networks.parameters() if p.requires_grad]
        decayed = [p for p in weights if p.ndim > 1]
        kept = [p for p in weights if p.ndim <= 1]  # biases and norms: pulling them to 0 helps nobody
        groups = [
            {"params": decayed, "weight_decay": task.recipe.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=task.recipe.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self.average = copy.deepcopy(task.networks) if task.recipe.ema_decay else task.networks
        self.curve: list[dict[str, float]] = []

    @property
    def path(self) -> Path:
        """Where the checkpoint lies."""
        return self.folder / f"{self.task.name}.pt"

    def save(self) -> None:
        """Write checkpoint and curve. The old checkpoint stays whole until the new one is complete."""
        state: dict[str, Any] = {
            "format": FORMAT,
            "step": self.step,
            "n_steps": self.n_steps,
            "networks": self.task.networks.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, self.path)
        write_curve(self.curve, self.folder / f"{self.task.name}.csv")

    def load(self) -> bool:
        """Go on from the checkpoint, if there is one."""
        if not self.path.exists():
            return False
        state = read_state(self.path)
        self.task.networks.load_state_dict(state["networks"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.curve = state["step"], state["curve"]
        self.n_steps = state["n_steps"] if self.n_steps is None else self.n_steps
        return True


def read_state(path: Path) -> dict[str, Any]:
    """A checkpoint of this loop. Raises CheckpointError for anything else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: not a training checkpoint; delete it to start anew") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: a training checkpoint of another version; delete it to start anew")
    return state


def load_average(module: nn.Module, folder: Path, stage: str) -> None:
    """Fill a network from a stage's checkpoint. Raises CheckpointError when there is none."""
    path = folder / f"{stage}.pt"
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; train the stage {stage!r} first")
    module.load_state_dict(read_state(path)["average"])


def write_curve(curve: list[dict[str, float]], path: Path) -> None:
    """The learning curve as CSV, one line every few steps."""
    if not curve:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(curve[0]))
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in curve)


def train(
    task: Task,
    folder: Path,
    *,
    n_steps: int | None = None,
    minutes: float | None = None,
    picture_every: float = 60.0,
    progress: bool = True,
) -> nn.Module:
    """Train to the end, or go on from a checkpoint in `folder`; return the averaged networks.

    `n_steps` wins over `minutes`; with neither, the checkpoint's number of steps is run, or the recipe's. A
    budget in minutes is turned into a number of steps once the speed is known, and that number is kept in the
    checkpoint: the learning rate follows steps, never the clock. Ctrl-C saves before it leaves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(task, folder, n_steps)
    run.load()
    if run.n_steps is None and minutes is None:
        run.n_steps = task.recipe.n_steps
    started, first = time.monotonic(), run.step
    saved = pictured = started
    bar = tqdm(total=run.n_steps, initial=run.step, desc=task.name, disable=not progress, dynamic_ncols=True)
    try:
        while run.n_steps is None or run.step < run.n_steps:
            losses = one_step(run)
            bar.update(1)
            now = time.monotonic()
            if run.n_steps is None and run.step - first == PLAN_AT:
                run.n_steps = bar.total = planned_steps(run.step, PLAN_AT, now - started, minutes or 0.0)
            if run.step % LOG_EVERY == 0:
                row = {"step": float(run.step)} | {k: float(v) for k, v in losses.items()}
                run.curve.append(row)
                bar.set_postfix({k: f"{v:.4f}" for k, v in row.items() if k != "step"})
            if now - saved > SAVE_EVERY:
                run.save()
                saved = now
            if now - pictured > picture_every:
                task.picture(run.average, folder / f"{task.name}.png")
                pictured = now
    finally:
        bar.close()
        run.save()
    task.picture(run.average, folder / f"{task.name}.png")
    return run.average


def one_step(run: Run) -> dict[str, Tensor]:
    """Loss, gradient, clip, update, average."""
    recipe, n_steps = run.task.recipe, run.n_steps or 10**9
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(recipe, run.step, n_steps)
    run.task.networks.train()
    losses = run.task.losses(run.step, run.step / n_steps)
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.task.networks.parameters(), recipe.grad_clip)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    if run.average is not run.task.networks:
        update_average(run.average, run.task.networks, recipe.ema_decay, run.step)
    run.step += 1
    return {k: v.detach() for k, v in losses.items()}


def planned_steps(step: int, timed: int, seconds: float, minutes: float) -> int:
    """How many steps fit into a budget, at the speed of the `timed` steps so far."""
    left = max(0.0, 60.0 * minutes - seconds)
    return step + int(left / (seconds / timed))
