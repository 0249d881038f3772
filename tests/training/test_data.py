import numpy as np
import torch

from labml_sd.tiny.drawing import draw_scene
from labml_sd.tiny.scenes import Scene
from labml_sd.training.data import generator, image_batch, scene_batch


def test_a_generator_depends_on_seed_step_and_stream_only():
    def draw(*key: object) -> float:
        return torch.rand((), generator=generator(*key)).item()

    assert draw(1, 2, "a") == draw(1, 2, "a")
    assert len({draw(1, 2, "a"), draw(1, 3, "a"), draw(2, 2, "a"), draw(1, 2, "b")}) == 4


def test_steps_share_no_scene():
    assert scene_batch(5, 3, 4) == [Scene.sample(5, i) for i in range(12, 16)]


def test_a_share_of_the_scenes_shows_a_small_object_at_night():
    scenes = scene_batch(5, 3, 8, night=0.5)
    hard = [s.sky == "night" and any(o.size == "small" for o in s.objects) for s in scenes]
    assert all(hard[:4]) and scenes[4:] == scene_batch(5, 3, 8)[4:]
    others = [scene for step in range(20) for scene in scene_batch(5, step, 4, night=1.0)]
    assert len({scene.jitter for scene in others}) == 80  # none comes twice


def test_pixels_become_numbers_from_minus_one_to_one():
    scene = Scene.sample(0, 0)
    expected = (
        np.asarray(draw_scene(scene, 32), dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1
    )
    batch = image_batch([Scene.sample(0, 1), scene], 32)
    assert batch.shape == (2, 3, 32, 32)
    assert np.abs(batch[1].numpy() - expected).max() < 1e-6
