import pytest
import torch

from labml_sd.evaluation import draw_and_read
from labml_sd.evaluation import evaluate as module
from labml_sd.evaluation.compare_attributes import ATTRIBUTES
from labml_sd.evaluation.draw_and_read import (
    GROUPS,
    SEED,
    Measurement,
    SamplingSettings,
    sample_scenes,
)
from labml_sd.evaluation.evaluate import accuracy, round_trip
from labml_sd.evaluation.probe import Readings
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.training.stages import prepare_tokenizer, with_vocabulary


@pytest.fixture(scope="module")
def model(small_recipe, tmp_path_factory):
    tokenizer = prepare_tokenizer(small_recipe, tmp_path_factory.mktemp("tokenizer"), seed=0)
    torch.manual_seed(0)
    return LatentDiffusion(
        with_vocabulary(small_recipe.model, len(tokenizer)), tokenizer
    ).eval()


@pytest.fixture(scope="module")
def m(model, probe):
    settings = SamplingSettings(steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "N_FOR_AXES", 64)
        yield Measurement(model=model, probe=probe, settings=settings, n_prompts=4)


@pytest.fixture(scope="module")
def measured(m):
    return accuracy(m)


def test_every_group_is_measured_on_every_attribute(measured):
    assert list(measured["groups"]) == ["one object", "two objects", "held-out pair"]
    for shares in measured["groups"].values():
        assert {*ATTRIBUTES, "mean", "whole"} <= set(shares)
        assert all(0.0 <= share["mean"] <= 1.0 for share in shares.values())
        assert {share["n"] for name, share in shares.items() if name != "binding"} == {4}


def test_an_untrained_model_is_seldom_right(measured):
    assert all(shares["whole"]["mean"] < 0.5 for shares in measured["groups"].values())
    assert measured["autoencoder"]["psnr"] < 20.0
    assert measured["frechet"]["distance"] > measured["frechet"]["floor"] >= 0.0


def test_the_same_call_reads_the_same_pictures_in_batches_of_another_size(m, monkeypatch):
    pictures, reads = [], draw_and_read.read_images

    def spy(reader, images):
        pictures.append(images)
        return reads(reader, images)

    monkeypatch.setattr(draw_and_read, "read_images", spy)
    psnrs, seen = [], []
    for batch in (64, 3):
        monkeypatch.setattr(draw_and_read, "BATCH", batch)
        found = accuracy(m)
        psnrs.append(found["autoencoder"]["psnr"])
        seen.append(torch.cat(pictures))
        pictures.clear()
    assert 127.5 * (seen[0] - seen[1]).abs().max() <= 1.001  # a batch may round one level off
    assert psnrs[0] == pytest.approx(psnrs[1], abs=1e-2)


def test_a_probe_that_reads_what_was_asked_gives_full_marks(m, monkeypatch):
    asked = [
        scene for split, n in GROUPS.values() for scene in sample_scenes(SEED, 4, split, n)
    ]
    first = asked[0]

    def oracle(reader, images):
        scenes = [asked.pop(0) for _ in images] if asked else [first] * len(images)
        return Readings(scenes, torch.randn(len(images), 6, dtype=torch.float64))

    monkeypatch.setattr(draw_and_read, "read_images", oracle)
    groups = accuracy(m)["groups"]
    assert {share["mean"] for shares in groups.values() for share in shares.values()} == {1.0}


def test_a_lossless_autoencoder_loses_no_attribute(model, m, monkeypatch):
    monkeypatch.setattr(model, "encode_image", lambda image: image, raising=False)
    monkeypatch.setattr(model, "decode_latent", lambda z: z, raising=False)
    trip = round_trip(m)
    assert trip["drawn by code"] == trip["after the autoencoder"] and trip["psnr"] > 100.0


def test_the_psnr_is_a_mean_over_the_pictures_of_all_batches(model, m, monkeypatch):
    monkeypatch.setattr(draw_and_read, "BATCH", 3)
    monkeypatch.setattr(model, "encode_image", lambda image: image, raising=False)
    # Whole grey levels off, up or down, so that no value leaves the range: 3 in one batch, 5 in
    # the other.
    shifts = iter([3 / 127.5, 5 / 127.5])

    def decode(z):
        shift = next(shifts)
        return torch.where(z > 0, z - shift, z + shift)

    monkeypatch.setattr(model, "decode_latent", decode, raising=False)
    trip = round_trip(m)
    assert trip["psnr"] == pytest.approx(37.4791, abs=1e-3)  # three of 38.588 dB, one of 34.151
    assert trip["psnr_pooled"] == pytest.approx(36.9914, abs=1e-3)  # mse (3 * 9 + 25) / 4 = 13
