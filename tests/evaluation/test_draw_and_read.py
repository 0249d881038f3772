import io

import torch
from tqdm import tqdm

from labml_sd.evaluation import draw_and_read
from labml_sd.evaluation.draw_and_read import (
    SEED,
    SamplingSettings,
    as_images,
    eight_bit,
    mixed_scenes,
    sample_scenes,
)
from labml_sd.pipeline import txt2img

SETTINGS = SamplingSettings(steps=1)


def test_picture_i_has_seed_i_whatever_the_batch(model, measurement, monkeypatch):
    monkeypatch.setattr(draw_and_read, "BATCH", 2)
    pictures = torch.cat(list(measurement().generate(["a", "b", "c"], SETTINGS)))
    (third,) = txt2img(model, "c", seed=2, steps=1, progress=False)
    assert 127.5 * (pictures[2] - as_images([third])[0]).abs().max() <= 1.0


def test_a_negative_prompt_is_passed_on_and_the_bar_counts_pictures(measurement):
    m = measurement(bar=tqdm(total=2, file=io.StringIO()))
    (plain,) = m.generate(["a cat"], SETTINGS)
    (other,) = m.generate(["a cat"], SETTINGS, "the moon")
    assert m.bar.n == 2 and not torch.equal(plain, other)


def test_eight_bits_round_to_the_nearest_level():
    images = torch.tensor([-1.2, -1.0, 0.001, 1.0]).expand(1, 3, 2, 4)
    torch.testing.assert_close(
        eight_bit(images)[0, 0, 0], torch.tensor([-1.0, -1.0, 128 / 127.5 - 1, 1.0])
    )


def test_the_three_kinds_of_prompts_take_turns():
    assert [len(scene.objects) for scene in mixed_scenes(6)] == [1, 2, 1, 1, 2, 1]


def test_the_guidance_scale_is_that_of_the_settings_or_of_the_model(model, measurement):
    own = SamplingSettings(guidance_scale=1.5)
    assert measurement(settings=own).guidance_scale == 1.5
    assert measurement().guidance_scale == model.config.guidance_scale


def test_a_share_of_the_prompts_is_never_less_than_asked_for(measurement):
    assert measurement().share(5) == 100 and measurement().share(10_000, 2) == 2


def test_reading_goes_batch_after_batch(measurement, monkeypatch):
    m, scenes = measurement(), sample_scenes(SEED, 5, "train", 1)
    whole = m.read(m.draw(scenes))
    monkeypatch.setattr(draw_and_read, "BATCH", 2)
    parts = m.read(m.draw(scenes))
    assert parts.scenes == whole.scenes and parts.clip is None
    torch.testing.assert_close(parts.features, whole.features, rtol=0, atol=1e-5)
