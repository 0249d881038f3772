from dataclasses import replace

import pytest
import torch

from labml_sd.errors import CheckpointError, GenerationError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.sampler import Level, Moment
from labml_sd.text_encoder import load_tokenizer
from labml_sd.training import stages
from labml_sd.training.latents import encode_scenes, fingerprint
from labml_sd.training.stages import STAGES, assemble, first_stages, train_stage
from labml_sd.training.tasks.decoder import DecoderTask
from labml_sd.training.tasks.diffusion import DiffusionTask

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run_folder(small_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for stage in STAGES:
        train_stage(stage, small_recipe, folder, seed=0, device=CPU, progress=False)
    return folder


def test_the_stages_make_a_model_that_answers(small_recipe, run_folder):
    model = assemble(small_recipe, run_folder)
    assert isinstance(model, LatentDiffusion)
    with torch.no_grad():
        cond, uncond = model.encode_prompt("a red house"), model.encode_prompt("")
        denoise = Denoiser(model, Conditioning(cond, uncond), 2.0)
        moment = Moment(level=Level(t=500.0, alpha_bar=0.3))
        z = denoise(torch.randn(1, 4, 16, 16), moment).x0
        assert torch.isfinite(model.decode_latent(z)).all()
    for stage in STAGES:
        assert (run_folder / f"{stage}.png").stat().st_size > 0
        assert (run_folder / f"{stage}.pt").stat().st_size > 0


def test_latents_have_unit_variance_after_the_measured_scale(small_recipe, run_folder):
    model = assemble(small_recipe, run_folder)
    latents = encode_scenes(model.autoencoder, 0, 40, 32, run_folder, progress=False)
    noise = torch.randn(latents.mean.shape, generator=torch.Generator().manual_seed(0))
    z = model.config.autoencoder.scale_factor * (
        latents.mean.float() + latents.std.float() * noise
    )
    assert abs(z.std().item() - 1.0) < 0.02


def test_latents_are_encoded_once(small_recipe, run_folder, monkeypatch):
    model = assemble(small_recipe, run_folder)
    first = encode_scenes(model.autoencoder, 0, 40, 32, run_folder, progress=False)
    monkeypatch.setattr(model.autoencoder, "posterior", None)  # would fail if it were called
    again = encode_scenes(model.autoencoder, 0, 40, 32, run_folder, progress=False)
    assert torch.equal(first.mean, again.mean) and torch.equal(first.std, again.std)


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_prompts_are_dropped_as_often_as_asked(dropout, small_recipe, run_folder):
    recipe = replace(
        small_recipe, diffusion=replace(small_recipe.diffusion, prompt_dropout=dropout)
    )
    config = assemble(small_recipe, run_folder).config
    model = first_stages(config, recipe, load_tokenizer(run_folder / "tokenizer"), run_folder)
    latents = encode_scenes(model.autoencoder, 0, 40, 32, run_folder, progress=False)
    task = DiffusionTask(recipe, model, latents, seed=0)
    captions = task.captions(torch.arange(20), 0, torch.Generator().manual_seed(0))
    assert sum(caption == "" for caption in captions) == 20 * dropout
    assert task.losses(0, 0.0)["loss"].item() == task.losses(0, 0.0)["loss"].item()


def test_preparations_are_part_of_the_minutes(small_recipe, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(stages, "train", lambda *args, **options: asked.append(options))
    for minutes in (10.0, None):
        monkeypatch.setattr(stages.time, "monotonic", iter((0.0, 90.0)).__next__)
        train_stage("autoencoder", small_recipe, tmp_path, seed=0, device=CPU, minutes=minutes)
    assert asked[0]["minutes"] == pytest.approx(10 * 0.3 - 1.5)
    assert asked[1]["minutes"] is None


def test_a_missing_stage_is_named(small_recipe, tmp_path):
    with pytest.raises(CheckpointError, match="train the stage 'decoder' first"):
        train_stage("diffusion", small_recipe, tmp_path, seed=0, device=CPU, progress=False)
    with pytest.raises(CheckpointError, match="train the stage 'diffusion' first"):
        assemble(small_recipe, tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}'])
def test_a_damaged_configuration_is_refused_in_one_line(content, small_recipe, tmp_path):
    (tmp_path / "model.json").write_text(content)
    with pytest.raises(CheckpointError, match="train the stage 'diffusion' again") as caught:
        assemble(small_recipe, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 2**64, 10**30])
def test_a_seed_out_of_range_is_refused_before_anything_is_written(
    seed, small_recipe, tmp_path
):
    with pytest.raises(GenerationError, match="seed is"):
        train_stage("autoencoder", small_recipe, tmp_path / "run", seed=seed, device=CPU)
    assert not list(tmp_path.iterdir())


def test_damaged_latents_are_refused_in_one_line(small_recipe, run_folder):
    autoencoder = assemble(small_recipe, run_folder).autoencoder
    encode_scenes(autoencoder, 3, 2, 32, run_folder, progress=False)
    path = run_folder / f"latents-{fingerprint(autoencoder, 3, 2)}.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="delete it to start again"):
        encode_scenes(autoencoder, 3, 2, 32, run_folder, progress=False)


def weights_of(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("stage, moved", [("decoder", "autoencoder"), ("diffusion", "unet")])
def test_a_stage_trains_a_finished_model_further(
    small_recipe, run_folder, tmp_path, stage, moved
):
    init = assemble(small_recipe, run_folder)
    before, config = weights_of(init), init.config
    train_stage(
        stage, small_recipe, tmp_path, seed=1, device=CPU, n_steps=2, progress=False, init=init
    )
    found = assemble(small_recipe, tmp_path, assemble(small_recipe, run_folder))
    changed = {n.split(".")[0] for n, w in found.state_dict().items() if (w != before[n]).any()}
    assert changed == {moved} and found.config == config
    kept = [n for n in before if ".encoder." in n or ("post" not in n and "quant_conv" in n)]
    assert kept and all(torch.equal(found.state_dict()[n], before[n]) for n in kept)


def test_a_run_that_continues_a_model_resumes_exactly(
    small_recipe, run_folder, tmp_path, monkeypatch
):
    def trained(folder):
        init, named = assemble(small_recipe, run_folder), {"device": CPU, "progress": False}
        train_stage("decoder", small_recipe, folder, seed=1, n_steps=3, init=init, **named)
        return assemble(small_recipe, folder, assemble(small_recipe, run_folder)).state_dict()

    whole, losses, calls = trained(tmp_path / "whole"), DecoderTask.losses, []

    def interrupted(task, step, progress):
        calls.append(step)
        if calls == [0, 1]:
            raise KeyboardInterrupt
        return losses(task, step, progress)

    monkeypatch.setattr(DecoderTask, "losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts")
    parts = trained(tmp_path / "parts")
    assert calls == [0, 1, 1, 2]
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("stage", ["autoencoder", "clip"])
def test_other_stages_cannot_start_from_a_model(small_recipe, run_folder, tmp_path, stage):
    init = assemble(small_recipe, run_folder)
    with pytest.raises(GenerationError, match=r"cannot start .*use decoder or"):
        train_stage(stage, small_recipe, tmp_path / "run", seed=0, device=CPU, init=init)
    assert not (tmp_path / "run").exists()
