from dataclasses import replace

import numpy as np
import pytest
import torch

from labml_sd.tiny.drawing import draw_scene, object_boxes
from labml_sd.tiny.scenes import Scene
from labml_sd.training.masks import random_mask

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
        for left, top, right, bottom in object_boxes(scene, 64):
            box = mask[0, max(0, int(top)) : int(bottom), max(0, int(left)) : int(right)]
            parts.append(float(box.mean()))
        hidden.append(max(parts))
    assert len(hidden) > 100
    assert np.quantile(hidden, 0.1) > 0.6


def test_in_an_empty_scene_something_is_hidden():
    scenes = [Scene.sample(0, i, n_objects=0) for i in range(40)]
    shares = [float(random_mask(scene, 0, 64).mean()) for scene in scenes]
    assert min(shares) > 0.01


def test_the_boxes_are_about_where_the_objects_are():
    for i in range(40):
        scene = Scene.sample(0, i, n_objects=1)
        (item,) = scene.objects
        other = replace(item, colour="red" if item.colour != "red" else "blue")
        pictures = (draw_scene(one) for one in (scene, replace(scene, objects=(other,))))
        before, after = (np.asarray(picture, int) for picture in pictures)
        rows, columns = np.nonzero(np.abs(before - after).max(axis=2) > 10)
        ((left, top, right, bottom),) = object_boxes(scene)
        inside = (columns > left - 3) & (columns < right + 3)
        inside &= (rows > top - 3) & (rows < bottom + 3)
        assert inside.mean() > 0.9, scene
        assert (columns.max() - columns.min()) > 0.6 * (right - left)
