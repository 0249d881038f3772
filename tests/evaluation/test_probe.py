import math
from dataclasses import replace

import pytest
import torch

from labml_sd.evaluation.probe import (
    NO_ANSWER,
    WIDTHS,
    Probe,
    ProbeRecipe,
    ProbeTask,
    best_answers,
    decode,
    encode,
    free_scene,
    probe_loss,
    probe_scenes,
    read_images,
    train_probe,
)
from labml_sd.tiny.scenes import HELD_OUT, PLACES, Scene
from labml_sd.training.data import image_batch

CPU = torch.device("cpu")
SMALL = ProbeRecipe(n_steps=3, batch_size=4, image_size=32, grid=16, channels=8, d_features=12)


def in_order(scene: Scene) -> Scene:
    """What can be read off a picture: no order of objects, and nothing that has no name."""
    return replace(
        scene,
        jitter=0,
        objects=tuple(sorted(scene.objects, key=lambda t: PLACES.index(t.place))),
    )


def sure(scenes: list[Scene]) -> torch.Tensor:
    """Logits that are as good as certain of the right answers."""
    rows = []
    for scene in scenes:
        parts = [torch.zeros(width) for width in WIDTHS]
        for part, answer in zip(parts, encode(scene), strict=True):
            part[max(answer, 0)] = 50.0
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def test_encoded_answers_decode_to_the_scene():
    for index in range(200):
        for scene in (
            Scene.sample(3, index),
            Scene.sample(3, index, n_objects=0),
            free_scene(3, index),
        ):
            assert decode(encode(scene)) == in_order(scene)


def test_an_empty_place_has_neither_colour_nor_size():
    assert encode(Scene("day", "sea", None, ()))[3:] == [0, NO_ANSWER, NO_ANSWER] * 3


def test_certain_logits_decode_to_the_scene_at_no_loss():
    scenes = [free_scene(0, index) for index in range(30)]
    logits = sure(scenes)
    assert [decode(row) for row in best_answers(logits).tolist()] == [
        in_order(scene) for scene in scenes
    ]
    truth = torch.tensor([encode(scene) for scene in scenes])
    assert probe_loss(logits, truth).item() == pytest.approx(0.0, abs=1e-6)


def test_uniform_logits_cost_the_logarithm_of_the_number_of_answers():
    truth = torch.tensor(
        [encode(Scene("day", "sea", None, ())), encode(Scene.sample(0, 0, n_objects=1))]
    )
    always = math.log(3 * 4 * 3 * 7**3)  # sky, ground, light, and the kind at three places
    expected = always + math.log(8 * 2) / 2  # one of the two scenes has one object
    logits = torch.zeros(2, sum(WIDTHS), dtype=torch.float64)
    assert probe_loss(logits, truth).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.holds("labml_sd.evaluation.probe.probe_loss")
def test_the_loss_is_minus_the_log_probability_of_every_answer():
    answers = [encode(free_scene(0, index)) for index in range(5)]
    logits = torch.randn(
        5, sum(WIDTHS), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    total = 0.0
    for row, answered in zip(logits, answers, strict=True):
        for part, answer in zip(row.split(WIDTHS), answered, strict=True):
            if answer != NO_ANSWER:
                total -= math.log((part[answer].exp() / part.exp().sum()).item())
    assert any(NO_ANSWER in answered for answered in answers)
    assert probe_loss(logits, torch.tensor(answers)).item() == pytest.approx(
        total / 5, rel=1e-12
    )


def test_free_scenes_have_parts_that_captions_never_combine():
    scenes = [free_scene(0, index) for index in range(400)]
    assert any(scene.light == "sun" for scene in scenes if scene.sky == "night")
    assert any(
        thing.kind == "boat"
        for scene in scenes
        if scene.ground == "snow"
        for thing in scene.objects
    )
    assert {len(scene.objects) for scene in scenes} == {0, 1, 2, 3}
    assert free_scene(0, 7) == free_scene(0, 7) != free_scene(1, 7)


def test_the_probe_learns_held_out_pairs_too():
    things = [
        thing
        for step in range(5)
        for scene in probe_scenes(0, step, 64)
        for thing in scene.objects
    ]
    assert {(thing.kind, thing.colour) for thing in things} > set(HELD_OUT)


def test_losses_are_a_function_of_seed_and_step():
    one, same, other = (
        ProbeTask(SMALL, 0, CPU),
        ProbeTask(SMALL, 0, CPU),
        ProbeTask(SMALL, 1, CPU),
    )
    assert one.losses(3, 0.0)["loss"].item() == same.losses(3, 0.0)["loss"].item()
    assert one.losses(4, 0.0)["loss"].item() != same.losses(3, 0.0)["loss"].item()
    assert other.losses(3, 0.0)["loss"].item() != same.losses(3, 0.0)["loss"].item()


def test_left_and_right_are_told_apart():
    torch.manual_seed(0)
    probe = Probe(SMALL)
    images = image_batch(probe_scenes(0, 0, 4), 32)
    with torch.no_grad():
        assert (probe(images) - probe(images.flip(-1))).abs().max() > 1e-3


def test_pictures_of_any_size_are_read():
    torch.manual_seed(0)
    probe = Probe(SMALL)
    for size in (16, 32, 48):
        sight = read_images(probe, image_batch(probe_scenes(0, 0, 2), size))
        assert len(sight.scenes) == 2
        assert sight.features.shape == (2, 12) and sight.features.dtype == torch.float64


def test_it_is_trained_once_and_then_read_from_its_folder(tmp_path):
    trained = train_probe(tmp_path, seed=0, device=CPU, recipe=SMALL, progress=False)
    written = (tmp_path / "probe.pt").read_bytes()
    again = train_probe(tmp_path, seed=0, device=CPU, recipe=SMALL, progress=False)
    image = image_batch(probe_scenes(9, 0, 2), 32)
    assert torch.equal(trained(image), again(image))
    assert not again.training and not any(weight.requires_grad for weight in again.parameters())
    assert len(written) > 0 and (tmp_path / "probe.png").exists()


def test_an_overfit_probe_reads_what_is_drawn(tmp_path, monkeypatch):
    from labml_sd.evaluation import probe as module

    monkeypatch.setattr(module, "augment", lambda images, draw: images)
    monkeypatch.setattr(
        module, "probe_scenes", lambda seed, step, n: [free_scene(0, i) for i in range(n)]
    )
    recipe = replace(SMALL, n_steps=120, warmup=5, learning_rate=1e-2, d_features=64)
    probe = train_probe(tmp_path, seed=0, device=CPU, recipe=recipe, progress=False)
    scenes = [free_scene(0, i) for i in range(4)]
    assert read_images(probe, image_batch(scenes, 32)).scenes == [
        in_order(scene) for scene in scenes
    ]
