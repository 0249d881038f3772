import random

import pytest
import torch

from labml_sd.checkpoint import load_model
from labml_sd.interrogator.image_tower import pooled
from labml_sd.tiny.hard_negatives import hard_negatives
from labml_sd.tiny.neighbours import neighbours
from labml_sd.tiny.scenes import HELD_OUT, Scene
from labml_sd.training import captions
from labml_sd.training.captions import (
    caption_vectors,
    different_scenes,
    fingerprint,
    scene_captions,
)


@pytest.fixture(scope="module")
def text():
    return load_model("tiny", dtype="float32").text_encoder


@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_other_scenes_are_one_change_away_and_show_no_held_out_pair(n):
    for index in range(60):
        scene = Scene.sample(0, index)
        others = different_scenes(scene, n, random.Random(index))
        assert len(set(others)) == len(others) == n and scene not in others
        assert set(others) <= {*neighbours(scene), *hard_negatives(scene, 99, random.Random(0))}
        for other in others:
            assert not {(item.kind, item.colour) for item in other.objects} & set(HELD_OUT)


def test_a_scene_s_captions_are_its_own_and_full_ones_in_one_wording():
    for index in range(20):
        scene = Scene.sample(0, index)
        own, full, *others = scene_captions(0, index, 4)
        wording = index if index % 2 else None
        assert own == scene.caption(seed=index)
        assert full == scene.caption(seed=wording, full=True)
        assert len({full, *others}) == 5


def test_vectors_are_those_of_the_captions_and_are_read_once(text, tmp_path, monkeypatch):
    vectors = caption_vectors(text, 0, 35, 2, tmp_path, progress=False)
    assert vectors.shape == (35, 4, 128) and vectors.dtype == torch.float16
    for index in (0, 33):
        expected = pooled(text, scene_captions(0, index, 2))
        torch.testing.assert_close(vectors[index].float(), expected, atol=2e-3, rtol=1e-3)
    monkeypatch.setattr(captions, "pooled", None)  # would fail if it were called
    assert torch.equal(caption_vectors(text, 0, 35, 2, tmp_path, progress=False), vectors)


def test_other_weights_have_another_file(model, make_model):
    changed = make_model().text_encoder
    assert fingerprint(changed, 0, 9, 2) == fingerprint(model.text_encoder, 0, 9, 2)
    with torch.no_grad():
        changed.transformer.final_layer_norm.bias[0] += 1
    assert fingerprint(changed, 0, 9, 2) != fingerprint(model.text_encoder, 0, 9, 2)
    assert fingerprint(model.text_encoder, 0, 9, 2) != fingerprint(model.text_encoder, 0, 9, 3)
