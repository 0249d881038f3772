r"""A stage on its way: networks, optimiser, average, step count; how they are kept and shown.

Maps       a task  <->  STAGE.pt;  what was learnt  ->  STAGE.png, STAGE.csv, STAGE_curve.png, samples/
Tests      tests/training/test_run.py
"""

import copy
import os
import platform
import shutil
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from labml_sd.errors import CheckpointError
from labml_sd.tiny.recipe import StageRecipe
from labml_sd.training.curve import draw_curve, write_curve
from labml_sd.training.processes import Processes

FORMAT = 1


@runtime_checkable
class Task(Protocol):
    """What a stage has to say for itself."""

    name: str
    seed: int

    @property
    def networks(self) -> nn.Module:
        """All that is trained."""
        ...

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


class Run:
    """All that a checkpoint holds. Of several processes every one keeps it, and the main one writes it."""

    def __init__(
        self, task: Task, folder: Path, n_steps: int | None, processes: Processes
    ) -> None:
        self.task, self.folder, self.processes = task, folder, processes
        self.step, self.n_steps = 0, n_steps
        weights = [p for p in task.networks.parameters() if p.requires_grad]
        decayed = [p for p in weights if p.ndim > 1]
        kept = [
            p for p in weights if p.ndim <= 1
        ]  # biases and norms: pulling them to 0 helps nobody
        groups = [
            {"params": decayed, "weight_decay": task.recipe.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=task.recipe.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self.average = copy.deepcopy(task.networks) if task.recipe.ema_decay else task.networks
        self.curve: list[dict[str, float]] = []
        self.machines = [machine_name(weights[0].device, processes.count)]
        self._spent, self._since = 0.0, time.monotonic()

    @property
    def path(self) -> Path:
        """Where the checkpoint lies."""
        return self.folder / f"{self.task.name}.pt"

    @property
    def seconds(self) -> float:
        """Time spent on this stage, that of earlier calls included."""
        return self._spent + time.monotonic() - self._since

    def save(self) -> None:
        """Write checkpoint and curve. The old checkpoint stays whole until the new one is complete."""
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
            "machines": self.machines,
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
        self._spent = state.get("seconds", 0.0)  # the first checkpoints did not count
        self.machines = list(dict.fromkeys([*state.get("machines", []), *self.machines]))
        return True

    def show(self) -> None:
        """Draw a sample, keep a copy under its step for the film of the learning, and draw the curve."""
        if not self.processes.is_main:
            return
        name, samples = self.task.name, self.folder / "samples"
        self.task.picture(self.average, self.folder / f"{name}.png")
        samples.mkdir(exist_ok=True)
        shutil.copyfile(self.folder / f"{name}.png", samples / f"{name}-{self.step:06d}.png")
        draw_curve(self.curve, f"{name}, {self.step} steps", self.folder / f"{name}_curve.png")


def machine_name(device: torch.device, count: int) -> str:
    """What computes, for the record: the GPU's name, or the processor's kind and threads."""
    name = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return name if count == 1 else f"{count} x {name}"


def read_state(path: Path) -> dict[str, Any]:
    """A checkpoint of a stage. Raises CheckpointError for anything else."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a training checkpoint; delete it to start anew"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: a training checkpoint of another version; delete it to start anew"
        )
    return state


def load_average(module: nn.Module, folder: Path, stage: str) -> None:
    """Fill a network from a stage's checkpoint. Raises CheckpointError when there is none."""
    path = folder / f"{stage}.pt"
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; train the stage {stage!r} first")
    module.load_state_dict(read_state(path)["average"])
