import csv
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from labml_sd.tiny.recipe import StageRecipe
from labml_sd.training import loop
from labml_sd.training.data import generator
from labml_sd.training.run import read_state


class Line:
    """Fit a line by a network of four weights: the smallest task there is."""

    name = "line"
    seed = 0
    recipe = StageRecipe(n_steps=40, batch_size=8, learning_rate=0.05, warmup=4, ema_decay=0.9)

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.networks: nn.Module = nn.Linear(3, 1)
        self.stop_at: int | None = None

    def losses(self, step: int, progress: float) -> dict[str, Tensor]:
        if step == self.stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=generator(0, step, "line"))
        error = (self.networks(x)[:, 0] - x @ torch.tensor([1.0, -2.0, 3.0])).square().mean()
        return {"loss": error, "root": error.sqrt()}

    def picture(self, networks: nn.Module, path: Path) -> None:
        path.write_bytes(b"picture")


def weights(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def test_the_loss_falls_and_the_curve_says_so(tmp_path):
    loop.train(Line(), tmp_path, n_steps=200, progress=False)
    rows = list(csv.DictReader((tmp_path / "line.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [*range(1, 101), *range(110, 201, 10)]
    assert float(rows[-1]["loss"]) < 0.05 * float(rows[0]["loss"])
    assert (tmp_path / "line.png").exists()


def test_an_interrupted_run_ends_at_the_same_bits(tmp_path):
    whole = loop.train(Line(), tmp_path / "whole", n_steps=40, progress=False)
    stopped = Line()
    stopped.stop_at = 17
    with pytest.raises(KeyboardInterrupt):
        loop.train(stopped, tmp_path / "parts", n_steps=40, progress=False)
    resumed = loop.train(Line(), tmp_path / "parts", progress=False)
    assert torch.equal(weights(whole), weights(resumed))
    assert (tmp_path / "whole/line.csv").read_text() == (
        tmp_path / "parts/line.csv"
    ).read_text()


def test_ctrl_c_waits_for_the_step_saves_and_says_how_to_go_on(tmp_path, ctrl_c):
    whole = loop.train(Line(), tmp_path / "whole", n_steps=40, progress=False)
    stopped = Line()
    learn = stopped.losses

    def losses(step: int, progress: float) -> dict[str, Tensor]:
        if step == 17:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(step, progress)

    stopped.losses = losses  # type: ignore[method-assign]
    with pytest.raises(
        KeyboardInterrupt, match=r"^line: .*saved at step 18; the same command resumes"
    ):
        loop.train(stopped, tmp_path / "parts", n_steps=40, progress=False)
    assert read_state(tmp_path / "parts/line.pt")["step"] == 18
    assert torch.equal(
        weights(whole), weights(loop.train(Line(), tmp_path / "parts", progress=False))
    )


def test_samples_are_kept_under_their_steps(tmp_path):
    task = Line()
    task.picture = lambda networks, path: path.write_text(str(weights(networks)))
    loop.train(task, tmp_path, n_steps=3, picture_every=-1.0, progress=False)
    samples = [(tmp_path / f"samples/line-00000{step}.png").read_text() for step in (1, 2, 3)]
    assert len(set(samples)) == 3
    assert (tmp_path / "line.png").read_text() == samples[-1]
    assert (tmp_path / "line_curve.png").stat().st_size > 0


KILLED = """
import sys, os, signal
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_loop
from labml_sd.training import loop
loop.SAVE_EVERY = -1.0
task = test_loop.Line()
learn = task.losses
def losses(step, progress):
    if step == 23:
        os.kill(os.getpid(), signal.SIGKILL)
    return learn(step, progress)
task.losses = losses
loop.train(task, Path({folder!r}), n_steps=40, progress=False)
"""


def test_a_run_that_was_killed_ends_at_the_same_bits(tmp_path):
    whole = loop.train(Line(), tmp_path / "whole", n_steps=40, progress=False)
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "killed"))
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_state(tmp_path / "killed/line.pt")["step"] == 23
    resumed = loop.train(Line(), tmp_path / "killed", progress=False)
    assert torch.equal(weights(whole), weights(resumed))


def test_a_finished_run_is_not_trained_further(tmp_path):
    first = weights(loop.train(Line(), tmp_path, n_steps=12, progress=False))
    assert torch.equal(first, weights(loop.train(Line(), tmp_path, progress=False)))


def test_a_budget_in_minutes_becomes_a_number_of_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "PLAN_AT", 3)
    plan = loop.plan
    monkeypatch.setattr(loop, "plan", lambda *budget: plan(*budget) and budget[0] + 5)
    loop.train(Line(), tmp_path, minutes=1e9, progress=False)  # no machine takes a tenth of it
    assert read_state(tmp_path / "line.pt")["n_steps"] == 8


def test_a_slow_run_is_planned_after_a_tenth_of_its_budget():
    assert loop.plan(step=7, timed=7, seconds=5.9, minutes=1.0) is None
    assert loop.plan(step=7, timed=7, seconds=7.0, minutes=1.0) == 60
    assert loop.plan(step=30, timed=30, seconds=3.0, minutes=1.0) == 600


def test_planned_steps_spend_the_budget():
    assert loop.plan(30, 30, 15.0, 1.0) == 30 + 90


@pytest.mark.holds("labml_sd.training.loop.learning_rate")
def test_learning_rate_warms_up_then_follows_a_cosine():
    recipe = StageRecipe(n_steps=1000, batch_size=1, learning_rate=2.0, warmup=10)
    assert loop.learning_rate(recipe, 0, 1000) == pytest.approx(0.2)
    half = 2.0 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert loop.learning_rate(recipe, 500, 1000) == pytest.approx(half)
    assert loop.learning_rate(recipe, 1000, 1000) == pytest.approx(0.04)


@pytest.mark.holds("labml_sd.training.loop.update_average")
def test_the_average_follows_the_weights_by_its_formula():
    average, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(average.weight, 1.0)
    nn.init.constant_(network.weight, 2.0)
    loop.update_average(average, network, decay=0.999, step=90)
    d = 91 / 100
    assert average.weight.item() == pytest.approx(d * 1.0 + (1 - d) * 2.0)
    nn.init.constant_(average.weight, 1.0)
    loop.update_average(average, network, decay=0.5, step=10_000)
    assert average.weight.item() == pytest.approx(1.5)


def test_the_learning_rate_starts_again_at_a_restart():
    once = StageRecipe(n_steps=400, batch_size=1, learning_rate=2.0, warmup=10)
    twice = StageRecipe(
        n_steps=1000, batch_size=1, learning_rate=2.0, warmup=10, restarts=(400,)
    )
    first = [loop.learning_rate(twice, step, 1000) for step in range(400)]
    assert first == [loop.learning_rate(once, step, 400) for step in range(400)]
    longer = StageRecipe(n_steps=600, batch_size=1, learning_rate=2.0, warmup=10)
    second = [loop.learning_rate(twice, 400 + step, 1000) for step in range(601)]
    assert second == [loop.learning_rate(longer, step, 600) for step in range(601)]


def test_a_short_run_warms_up_for_a_tenth_of_it():
    recipe = StageRecipe(n_steps=1000, batch_size=1, learning_rate=2.0, warmup=100)
    rates = [loop.learning_rate(recipe, step, 40) for step in range(40)]
    assert rates.index(max(rates)) == 3
