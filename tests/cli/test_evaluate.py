import argparse
import json
from pathlib import Path

import pytest
import torch

from labml_sd.checkpoint import save_model
from labml_sd.cli import evaluate as evaluate_command
from labml_sd.cli import train as command
from labml_sd.errors import CheckpointError, GenerationError
from labml_sd.evaluation import evaluate, probe
from labml_sd.evaluation.probe import ProbeRecipe
from labml_sd.evaluation.results import write_results
from labml_sd.tiny.recipe import RECIPES
from labml_sd.training.stages import train_stage

SMALL = ProbeRecipe(n_steps=2, batch_size=4, image_size=32, grid=16, channels=8, d_features=6)


def run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([*words, "--device", "cpu"]))


@pytest.fixture
def folder(model, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "ProbeRecipe", lambda: SMALL)
    monkeypatch.setattr(evaluate, "N_FOR_AXES", 32)
    save_model(model, tmp_path / "m", layout="diffusers")
    return tmp_path


def test_evaluate_trains_the_probe_and_prints_and_saves_the_report(folder, capsys):
    words = (
        "--model",
        str(folder / "m"),
        "--outdir",
        str(folder),
        "--prompts",
        "2",
        "--steps",
        "1",
    )
    run("evaluate", *words, "--part", "accuracy", "--sampler", "ddim", "--guidance-scale", "1")
    report = (folder / "evaluation.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == report
    assert "1 steps of ddim, guidance 1," in report and "No CLIP score" in report
    assert (folder / "probe.pt").exists()
    run("card", "--model", str(folder / "m"), "--outdir", str(folder))
    assert capsys.readouterr().out == f"card: {folder / 'm' / 'MODEL_CARD.md'}\n"


def test_a_clip_in_the_folder_gives_a_score(folder, small_recipe, monkeypatch):
    monkeypatch.setitem(RECIPES, "tiny", small_recipe)
    cpu = torch.device("cpu")
    train_stage("clip", small_recipe, folder, n_steps=1, seed=0, device=cpu, progress=False)
    words = (
        "--model",
        str(folder / "m"),
        "--outdir",
        str(folder),
        "--prompts",
        "2",
        "--steps",
        "1",
    )
    run("evaluate", *words, "--part", "accuracy")
    clip = json.loads((folder / "evaluation.json").read_text())["parts"]["accuracy"]["clip"]
    assert all(
        -1.0 <= by[who]["own"] <= 1.0 for by in clip.values() for who in ("model", "code")
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--prompts", "0"),
        ("--sampler", "dimm"),
        ("--steps", "0"),
        ("--steps", "1001"),
        ("--guidance-scale", "nan"),
        ("--seed", "-1"),
        ("--seed", "1" + 30 * "0"),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_refused_before_training(words, tmp_path):
    with pytest.raises(GenerationError):
        run("evaluate", *words, "--outdir", str(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match="taken/run: cannot be written") as caught:
        run("evaluate", "--outdir", str(tmp_path / "taken" / "run"))
    assert "\n" not in str(caught.value)


def test_a_damaged_results_file_is_refused_before_measuring(tmp_path):
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(CheckpointError, match="delete it"):
        run("evaluate", "--outdir", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]


def test_card_writes_the_pages_that_were_measured(folder, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(evaluate_command, "write_card", lambda *a: calls.append("card"))
    monkeypatch.setattr(evaluate_command, "write_page", lambda *a: calls.append("page"))
    for parts in ({"accuracy": 1}, {"samplers": 1}, {"convergence": 1, "accuracy": 1}):
        write_results(folder, {"format": 1, "parts": parts})
        run("card", "--model", str(folder / "m"), "--outdir", str(folder))
    assert calls == ["card", "page", "card", "page"]
    assert capsys.readouterr().out.count("samplers: ") == 2


def test_a_card_without_an_evaluation_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="run labml-sd train evaluate"):
        run("card", "--outdir", str(tmp_path))


@pytest.mark.parametrize("stage", ["evaluate", "card", "assemble"])
def test_a_folder_that_may_not_be_read_is_one_line(tmp_path, monkeypatch, stage):
    exists, locked = Path.exists, tmp_path / "locked"

    def refuse(path):  # root may read everything
        if locked in path.parents:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(CheckpointError, match=r"locked.*: not allowed \(Permission denied\)"):
        run(stage, "--outdir", str(locked))
