from dataclasses import replace

import numpy as np
import pytest
import torch

from labml_sd.tiny.drawing import changed_box
from labml_sd.tiny.scenes import COLOURS, Scene
from labml_sd.training.masks import random_mask


def colour_boxes(scene, size):
    """The box around each object's pixels of its own colour."""
    boxes = []
    for i, item in enumerate(scene.objects):
        other = next(colour for colour in COLOURS if colour != item.colour)
        objects = list(scene.objects)
        objects[i] = replace(item, colour=other)
        boxes.append(changed_box(scene, replace(scene, objects=tuple(objects)), size))
    return boxes


SCENES = [Scene.sample(0, i) for i in range(400)]


@pytest.fixture(scope="module")
def masks():
    return torch.cat([random_mask(scene, 0, 64) for scene in SCENES])


def test_a_quarter_hides_everything_and_none_hides_nothing(masks):
    share = masks.mean(dim=(1, 2, 3))
    assert 0.2 < (share == 1).double().mean() < 0.3
    assert share.min() > 0.01
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_a_mask_is_always_the_same_for_its_number():
    assert torch.equal(random_mask(SCENES[3], 5, 64), random_mask(SCENES[3], 5, 64))
    numbers = [random_mask(SCENES[3], number, 64) for number in range(8)]
    assert len({mask.numpy().tobytes() for mask in numbers}) > 4


def test_boxes_and_strokes_hide_most_of_an_object(masks):
    hidden = []
    for scene, mask in zip(SCENES, masks, strict=True):
        share = float(mask.mean())
        rows, columns = mask[0].any(dim=1), mask[0].any(dim=0)
        if share == 1 or rows.all() or columns.all():
            continue  # everything, or a side of the picture
        parts = []
        for left, top, right, bottom in colour_boxes(scene, 64):
            parts.append(float(mask[0, top:bottom, left:right].mean()))
        hidden.append(max(parts))
    assert len(hidden) > 100
    assert np.quantile(hidden, 0.1) > 0.7
    assert np.mean(np.array(hidden) == 1.0) > 0.6  # the boxes


def test_many_boxes_are_tight():
    spare = []
    for i in range(200):
        scene = Scene.sample(0, i, n_objects=1)
        rows, columns = (random_mask(scene, 0, 64)[0, 0].any(dim=side) for side in (1, 0))
        if rows.all() or columns.all():
            continue
        ((left, top, right, bottom),) = colour_boxes(scene, 64)
        spare.append(int(rows.sum()) - (bottom - top))
        spare.append(int(columns.sum()) - (right - left))
    assert len(spare) > 100
    assert np.median(spare) < 0.13 * 64  # both margins, and an object of another size
    assert np.quantile(spare, 0.9) < 0.35 * 64


def test_in_an_empty_scene_something_is_hidden():
    scenes = [Scene.sample(0, i, n_objects=0) for i in range(40)]
    shares = [float(random_mask(scene, 0, 64).mean()) for scene in scenes]
    assert min(shares) > 0.01
