import torch

from labml_sd.evaluation import draw_and_read
from labml_sd.evaluation.draw_and_read import (
    SEED,
    SamplingSettings,
    as_images,
    draw_scenes,
    eight_bit,
    generate,
    read_batches,
    sample_scenes,
)
from labml_sd.evaluation.probe import Probe, ProbeRecipe
from labml_sd.pipeline import txt2img

SETTINGS = SamplingSettings(steps=1)


def test_picture_i_has_seed_i_whatever_the_batch(model, monkeypatch):
    monkeypatch.setattr(draw_and_read, "BATCH", 2)
    pictures = torch.cat(list(generate(model, ["a", "b", "c"], SETTINGS)))
    (third,) = txt2img(model, "c", seed=2, steps=1, progress=False)
    assert 127.5 * (pictures[2] - as_images([third])[0]).abs().max() <= 1.0


def test_a_negative_prompt_and_the_bar_are_passed_on(model):
    told: list[int] = []
    (plain,) = generate(model, ["a cat"], SETTINGS, on_progress=told.append)
    (other,) = generate(model, ["a cat"], SETTINGS, negative_prompt="the moon")
    assert told == [1] and not torch.equal(plain, other)


def test_eight_bits_round_to_the_nearest_level():
    images = torch.tensor([-1.2, -1.0, 0.001, 1.0]).expand(1, 3, 2, 4)
    torch.testing.assert_close(
        eight_bit(images)[0, 0, 0], torch.tensor([-1.0, -1.0, 128 / 127.5 - 1, 1.0])
    )


def test_reading_goes_batch_after_batch(monkeypatch):
    torch.manual_seed(0)
    probe = Probe(ProbeRecipe(grid=16, channels=8, d_features=6)).eval()
    scenes = sample_scenes(SEED, 5, "train", 1)
    whole = read_batches(probe, draw_scenes(scenes, 32))
    monkeypatch.setattr(draw_and_read, "BATCH", 2)
    parts = read_batches(probe, draw_scenes(scenes, 32))
    assert parts.scenes == whole.scenes and parts.clip is None
    torch.testing.assert_close(parts.features, whole.features, rtol=0, atol=1e-5)
