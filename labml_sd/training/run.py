r"""The state of one stage: networks, optimiser, moving average, step; saved and shown here.

Maps       a task  <->  STAGE.pt
           progress  ->  STAGE.png, STAGE.csv, STAGE_curve.png, samples/
Tests      tests/training/test_run.py
"""

import copy
import shutil
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from labml_sd.errors import CheckpointError
from labml_sd.tiny.recipe import StageRecipe
from labml_sd.training.processes import Processes
from labml_sd.training.progress import draw_curve, write_curve
from labml_sd.training.state_files import read_file, write_file
from labml_sd.utilities.device import describe_device

FORMAT = 1


@runtime_checkable
class Task(Protocol):
    """What a stage defines: its networks, its numbers, its loss."""

    name: str
    seed: int

    @property
    def networks(self) -> nn.Module:
        """All that is trained."""

    @property
    def recipe(self) -> StageRecipe:
        """The numbers of the stage."""

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        """Scalars of one step: `loss` is minimised, the others are only logged.

        `progress` is the share of the run that is done, from 0 to 1.
        """

    def picture(self, networks: nn.Module, path: Path) -> None:
        """Write an image that shows what the networks have learnt so far."""


class Run:
    """All that a checkpoint holds. Every process has one; only the main process writes it."""

    def __init__(
        self, task: Task, folder: Path, n_steps: int | None, processes: Processes
    ) -> None:
        self.task, self.folder, self.processes = task, folder, processes
        self.step, self.n_steps = 0, n_steps
        weights = [p for p in task.networks.parameters() if p.requires_grad]
        matrices = [p for p in weights if p.ndim > 1]
        vectors = [p for p in weights if p.ndim <= 1]  # biases and norms: no weight decay
        groups = [
            {"params": matrices, "weight_decay": task.recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=task.recipe.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self.average = copy.deepcopy(task.networks) if task.recipe.ema_decay else task.networks
        self.curve: list[dict[str, float]] = []
        device = describe_device(weights[0].device)
        self.devices = [device if processes.count == 1 else f"{processes.count} x {device}"]
        self._spent, self._since = 0.0, time.monotonic()

    @property
    def path(self) -> Path:
        """The checkpoint file."""
        return self.folder / f"{self.task.name}.pt"

    @property
    def seconds(self) -> float:
        """Time spent on this stage, including earlier calls."""
        return self._spent + time.monotonic() - self._since

    def save(self) -> None:
        """Write checkpoint and curve. A complete new checkpoint replaces the old one."""
        if not self.processes.is_main:
            return
        state: dict[str, Any] = {
            "format": FORMAT,
            "step": self.step,
            "n_steps": self.n_steps,
            "networks": self.task.networks.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": self.curve,
            "seed": self.task.seed,
            "seconds": self.seconds,
            "machines": self.devices,
        }
        write_file(state, self.path)
        write_curve(self.curve, self.folder / f"{self.task.name}.csv")

    def load(self) -> None:
        """Resume from the checkpoint, if there is one.

        Raises CheckpointError if it was trained with another seed or recipe: the run would
        then be reproducible from neither.
        """
        if not self.path.exists():
            return
        state = read_state(self.path)
        seed = state.get("seed", self.task.seed)  # the oldest checkpoints have none
        if seed != self.task.seed:
            raise CheckpointError(
                f"{self.path}: was trained with seed {seed}, not {self.task.seed}; "
                "give that seed, or choose another folder"
            )
        try:
            self.task.networks.load_state_dict(state["networks"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise _other_recipe(self.path) from error
        self.step, self.curve = state["step"], state["curve"]
        self.n_steps = state["n_steps"] if self.n_steps is None else self.n_steps
        self._spent = state.get("seconds", 0.0)  # the oldest checkpoints have no time
        self.devices = list(dict.fromkeys([*state.get("machines", []), *self.devices]))

    def show(self) -> None:
        """Write a sample, a copy of it under its step number, and the learning curve."""
        if not self.processes.is_main:
            return
        name, samples = self.task.name, self.folder / "samples"
        self.task.picture(self.average, self.folder / f"{name}.png")
        samples.mkdir(exist_ok=True)
        shutil.copyfile(self.folder / f"{name}.png", samples / f"{name}-{self.step:06d}.png")
        draw_curve(self.curve, f"{name}, {self.step} steps", self.folder / f"{name}_curve.png")


def read_state(path: Path) -> dict[str, Any]:
    """Read the checkpoint of a stage. Raises CheckpointError for any other file."""
    state = read_file(path)
    if state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: a training checkpoint of another version; delete it to start again"
        )
    return state


def load_average(module: nn.Module, folder: Path, stage: str) -> None:
    """Load the averaged weights of a stage. Raises CheckpointError if it has none that fit."""
    path = folder / f"{stage}.pt"
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; train the stage {stage!r} first")
    try:
        module.load_state_dict(read_state(path)["average"])
    except RuntimeError as error:
        raise _other_recipe(path) from error


def _other_recipe(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: was trained with another recipe; give that recipe, or choose another folder"
    )
