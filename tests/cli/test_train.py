import argparse
import contextlib
import io

import pytest
import torch

from labml_sd.checkpoint import load_model
from labml_sd.cli import train as command
from labml_sd.errors import CheckpointError, GenerationError
from labml_sd.tiny.recipe import RECIPES


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


SAME = ("--device", "cpu", "--steps", "2")


@pytest.fixture(scope="module")
def finished(small_recipe, tmp_path_factory):
    """The folder of a whole training, and what the command printed; not to be changed."""
    folder, printed = tmp_path_factory.mktemp("whole"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setitem(RECIPES, "tiny", small_recipe)
        command.run(parse(*SAME, "--outdir", str(folder)))
    return folder, printed.getvalue()


def test_one_command_trains_all_stages_and_leaves_a_model_that_loads(finished, small_recipe):
    folder, printed = finished
    model = load_model(folder / "model", device="cpu")
    assert model.config.unet == small_recipe.model.unet
    assert model.dtype == torch.float32
    assert str(folder / "model") in printed


@pytest.mark.parametrize(
    "words", [("--minutes", "0"), ("--minutes", "nan"), ("--minutes", "inf"), ("--steps", "0")]
)
def test_an_empty_budget_is_refused(words, tmp_path):
    with pytest.raises(GenerationError, match="give"):
        command.run(parse(*words, "--outdir", str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_an_unknown_device_is_refused_in_one_line(tmp_path):
    with pytest.raises(GenerationError, match="device 'nonsense' is unknown") as caught:
        command.run(
            parse("--device", "nonsense", "--steps", "1", "--outdir", str(tmp_path / "run"))
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_finished_model_is_trained_further_and_assembled(
    finished, small_recipe, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(RECIPES, "tiny", small_recipe)
    whole, further = finished[0], tmp_path / "further"
    init = ("--init", str(whole / "model"), "--outdir", str(further))
    command.run(parse("decoder", *SAME, *init))
    command.run(parse("assemble", *init))
    before, after = (load_model(run / "model", device="cpu") for run in (whole, further))
    assert torch.equal(*(m.unet.out[2].weight for m in (before, after)))
    assert not torch.equal(*(m.autoencoder.decoder.conv_in.weight for m in (before, after)))
    with pytest.raises(GenerationError, match="'autoencoder' cannot start from"):
        command.run(parse(*SAME, *init))
    assert str(further / "model") in capsys.readouterr().out


@pytest.mark.slow
def test_an_in_painting_model_is_made_of_a_finished_one(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "tiny", small_recipe)
    whole, painting = tmp_path / "whole", tmp_path / "painting"
    command.run(parse(*SAME, "--prediction", "v", "--outdir", str(whole)))
    init = ("--init", str(whole / "model"), "--outdir", str(painting))
    command.run(parse("inpainting", *SAME, *init))
    command.run(parse("assemble", *init))
    plain, made = (load_model(run / "model", device="cpu") for run in (whole, painting))
    assert (plain.config.prediction, made.config.prediction) == ("v", "v")
    assert made.config.for_inpainting and made.config.name == f"{plain.config.name}-inpainting"
    assert made.unet.input_blocks[0][0].weight.shape[1] == 9
    with pytest.raises(GenerationError, match=r"--prediction is eps, and .* predicts v"):
        command.run(parse("inpainting", *SAME, *init, "--prediction", "eps"))


@pytest.mark.slow
def test_a_finished_unet_learns_to_predict_v(finished, small_recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "tiny", small_recipe)
    whole, further = finished[0], tmp_path / "further"
    init = ("--init", str(whole / "model"), "--outdir", str(further))
    command.run(parse("diffusion", *SAME, *init, "--prediction", "v"))
    command.run(parse("diffusion", *init, "--steps", "3", "--device", "cpu"))  # resumes as v
    command.run(parse("assemble", *init))
    plain, made = (load_model(run / "model", device="cpu") for run in (whole, further))
    assert (plain.config.prediction, made.config.prediction) == ("eps", "v")
    with pytest.raises(CheckpointError, match="was trained to predict v, not eps"):
        command.run(parse("diffusion", *SAME, *init, "--prediction", "eps"))
