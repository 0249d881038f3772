import torch

from labml_sd.evaluation.probe import probe_scenes
from labml_sd.training.augment import augment
from labml_sd.training.data import generator, image_batch


def test_a_disturbed_picture_is_close_to_the_picture_and_the_same_for_the_same_draw():
    images = image_batch(probe_scenes(0, 0, 8), 32)
    first, again = (augment(images, generator(0, 1, "probe")) for _ in range(2))
    assert torch.equal(first, again)
    assert 0.0 < (first - images).square().mean().sqrt() < 0.2
