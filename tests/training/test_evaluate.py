import argparse
from dataclasses import replace

import pytest
import torch

from labml_sd.checkpoint import save_model
from labml_sd.errors import GenerationError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.training import command, evaluate, probe
from labml_sd.training.judge import ATTRIBUTES, ROWS
from labml_sd.training.probe import Probe, ProbeRecipe, Sight
from labml_sd.training.stages import prepare_tokenizer, with_vocabulary

SMALL = ProbeRecipe(n_steps=2, batch_size=4, image_size=32, grid=16, channels=8, d_features=6)
SETTINGS = evaluate.Settings(n_prompts=4, steps=2)


@pytest.fixture(scope="module")
def model(small_recipe, tmp_path_factory):
    tokenizer = prepare_tokenizer(small_recipe, tmp_path_factory.mktemp("tokenizer"), seed=0)
    torch.manual_seed(0)
    return LatentDiffusion(with_vocabulary(small_recipe.model, len(tokenizer)), tokenizer).eval()


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    return Probe(SMALL).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def measured(model, reader):
    return evaluate.evaluate(model, reader, SETTINGS, progress=False)


def test_every_group_is_judged_on_every_attribute(measured):
    assert list(measured.groups) == ["one object", "two objects", "held-out pair"]
    for shares in measured.groups.values():
        assert {*ATTRIBUTES, "mean", "whole"} <= set(shares)
        assert all(0.0 <= share.mean <= 1.0 for share in shares.values())
        assert {share.n for name, share in shares.items() if name != "binding"} == {4}


def test_a_model_that_knows_nothing_is_seldom_right(measured):
    assert all(shares["whole"].mean < 0.5 for shares in measured.groups.values())
    assert measured.psnr < 20.0 and measured.frechet_floor >= 0.0


def test_the_same_call_measures_the_same(model, reader, measured):
    assert evaluate.evaluate(model, reader, SETTINGS, progress=False) == measured


def test_the_size_of_a_batch_changes_nothing(model, reader, measured, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", 3)
    again = evaluate.evaluate(model, reader, SETTINGS, progress=False)
    assert again.groups == measured.groups
    assert again.psnr == pytest.approx(measured.psnr, abs=1e-3)


def test_a_probe_that_reads_what_was_asked_gives_full_marks(model, reader, monkeypatch):
    asked = [s for split, n in evaluate.GROUPS.values() for s in evaluate._scenes(evaluate.SEED, 4, split, n)]

    def oracle(reader, images):
        scenes = [asked.pop(0) for _ in images] if asked else [TRUE[0]] * len(images)
        return Sight(scenes, torch.randn(len(images), 2, dtype=torch.float64))

    TRUE = [asked[0]]
    monkeypatch.setattr(evaluate, "look", oracle)
    groups = evaluate.evaluate(model, reader, SETTINGS, progress=False).groups
    assert {share.mean for shares in groups.values() for share in shares.values()} == {1.0}


def test_a_lossless_autoencoder_loses_no_attribute(model, reader, monkeypatch):
    monkeypatch.setattr(model, "encode_image", lambda image: image, raising=False)
    monkeypatch.setattr(model, "decode_latent", lambda z: z, raising=False)
    before, after, psnr = evaluate.round_trip(model, reader, 4)
    assert before == after and psnr > 100.0


def test_the_psnr_is_that_of_the_mean_square_error(model, reader, monkeypatch):
    monkeypatch.setattr(model, "encode_image", lambda image: image, raising=False)
    # Exactly 5 grey levels off, up or down, so that no value leaves the range.
    shift = 5 / 127.5
    monkeypatch.setattr(
        model, "decode_latent", lambda z: torch.where(z > 0, z - shift, z + shift), raising=False
    )
    _, _, psnr = evaluate.round_trip(model, reader, 4)
    assert psnr == pytest.approx(34.1514, abs=1e-3)  # 20 log10(255 / 5)


def test_the_report_lists_every_row_and_every_column(measured):
    text = measured.report()
    table = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in table[0]] == [
        "",
        "one object",
        "two objects",
        "held-out pair",
        "drawn by code",
        "after the autoencoder",
    ]
    assert [row[0].strip() for row in table[2:]] == list(ROWS)
    assert {len(row) for row in table} == {6}
    assert f"PSNR {measured.psnr:.2f} dB" in text and "guidance 2." in text


def test_a_setting_that_cannot_be_is_refused(model, reader):
    with pytest.raises(GenerationError, match="did you mean"):
        evaluate.evaluate(model, reader, replace(SETTINGS, sampler="dimm"), progress=False)


def run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args(["evaluate", "--device", "cpu", *words]))


def test_the_command_trains_the_probe_prints_the_report_and_keeps_it(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(probe, "ProbeRecipe", lambda: SMALL)
    save_model(model, tmp_path / "m", layout="diffusers")
    words = ("--model", str(tmp_path / "m"), "--outdir", str(tmp_path), "--prompts", "2", "--steps", "1")
    run(*words, "--sampler", "ddim", "--guidance-scale", "1")
    report = (tmp_path / "evaluation.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out == report
    assert "1 steps of ddim, guidance 1." in report and (tmp_path / "probe.pt").exists()


@pytest.mark.parametrize("words", [("--prompts", "0"), ("--sampler", "dimm"), ("--steps", "0")])
def test_the_command_refuses_before_it_trains(words, tmp_path):
    with pytest.raises(GenerationError):
        run(*words, "--outdir", str(tmp_path))
    assert not list(tmp_path.iterdir())
