import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from labml_sd.errors import CheckpointError
from labml_sd.tiny.recipe import StageRecipe
from labml_sd.training import run as run_module
from labml_sd.training.processes import ALONE, Processes
from labml_sd.training.run import Run, load_average, read_state


class Still:
    """A task that learns nothing."""

    name = "still"
    seed = 0
    recipe = StageRecipe(n_steps=4, batch_size=1, learning_rate=0.1, ema_decay=0.9)

    def __init__(self, width: int = 2) -> None:
        self.networks: nn.Module = nn.Linear(width, 1)

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        return {"loss": self.networks(torch.ones(1, 2)).sum()}

    def picture(self, networks: nn.Module, path: Path) -> None:
        path.write_bytes(b"picture")


def new_run(folder: Path, processes: Processes = ALONE) -> Run:
    return Run(Still(), folder, None, processes)


def test_seconds_are_summed_over_calls(tmp_path, monkeypatch):
    clock = iter([100.0, 107.0, 500.0, 503.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    new_run(tmp_path).save()
    assert read_state(tmp_path / "still.pt")["seconds"] == 7.0
    second = new_run(tmp_path)
    second.load()
    second.save()
    assert read_state(tmp_path / "still.pt")["seconds"] == 10.0


def test_every_device_is_recorded_once(tmp_path, monkeypatch):
    for name in ("one", "two", "two", "one"):
        monkeypatch.setattr(run_module, "describe_device", lambda device, name=name: name)
        run = new_run(tmp_path)
        run.load()
        run.save()
    assert read_state(tmp_path / "still.pt")["machines"] == ["one", "two"]


def test_several_devices_are_counted(tmp_path):
    (one,), (three,) = (new_run(tmp_path, Processes(count=n)).devices for n in (1, 3))
    assert "threads" in one and three == f"3 x {one}"


def test_a_checkpoint_from_before_seconds_were_counted_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    first = new_run(tmp_path)
    first.step = 3
    first.save()
    state = read_state(first.path)
    del state["seconds"], state["machines"]
    torch.save(state, first.path)
    second = new_run(tmp_path)
    second.load()
    assert second.step == 3
    assert second.seconds == 0.0


def test_only_the_main_process_writes(tmp_path):
    other = new_run(tmp_path, Processes(rank=1, count=2))
    other.save()
    other.show()
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path):
    (tmp_path / "still.pt").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="delete it to start again") as caught:
        new_run(tmp_path).load()
    assert "\n" not in str(caught.value)
    assert (tmp_path / "still.pt").read_bytes() == b"nonsense"


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="train the stage 'still' first"):
        load_average(nn.Linear(2, 1), tmp_path, "still")


def test_a_run_of_another_seed_is_not_continued(tmp_path):
    first = new_run(tmp_path)
    first.task.seed = 5
    first.step = 3
    first.save()
    with pytest.raises(CheckpointError, match=r"trained with seed 5, not 0; give that seed"):
        new_run(tmp_path).load()
    assert read_state(first.path)["step"] == 3


def test_weights_of_another_recipe_are_refused_in_one_line(tmp_path):
    new_run(tmp_path).save()
    with pytest.raises(CheckpointError, match="trained with another recipe") as caught:
        Run(Still(width=3), tmp_path, None, ALONE).load()
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="trained with another recipe"):
        load_average(nn.Linear(3, 1), tmp_path, "still")
