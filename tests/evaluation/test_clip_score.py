import math

import pytest
import torch
from torch.nn import functional as F

from labml_sd.errors import CheckpointError
from labml_sd.evaluation import clip_score
from labml_sd.evaluation.clip_score import clip_scores, load_clip
from labml_sd.tiny.scenes import Scene
from labml_sd.training.data import image_batch
from labml_sd.training.stages import train_stage

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(small_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train_stage("clip", small_recipe, folder, n_steps=1, seed=0, device=CPU, progress=False)
    return folder


def directions(n: int, seed: int) -> torch.Tensor:
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(x, dim=-1)


@pytest.mark.holds("labml_sd.evaluation.clip_score.clip_scores")
def test_the_scores_are_mean_cosines_of_own_and_next_caption():
    captions, images = directions(4, 0), directions(4, 1)
    cosines = captions @ images.T
    scores = clip_scores(captions, images)
    assert scores["own"] == pytest.approx(
        sum(cosines[i, i].item() for i in range(4)) / 4, abs=1e-12
    )
    assert scores["other"] == pytest.approx(
        sum(cosines[(i + 1) % 4, i].item() for i in range(4)) / 4, abs=1e-12
    )
    assert scores["error"] == pytest.approx(
        cosines.diagonal().std().item() / math.sqrt(4), abs=1e-12
    )


def test_equal_embeddings_of_picture_and_caption_score_one():
    captions = torch.eye(3, dtype=torch.float64)
    assert clip_scores(captions, captions) == {"own": 1.0, "other": 0.0, "error": 0.0}
    assert clip_scores(captions[:1], captions[:1])["error"] == 0.0


def test_the_reader_gives_the_directions_of_both_trained_towers(
    small_recipe, folder, monkeypatch
):
    reader = load_clip(folder, small_recipe, CPU)
    scenes = [Scene.sample(0, i) for i in range(5)]
    captions = [scene.caption() for scene in scenes]
    whole, images = (
        reader.embed_captions(captions),
        reader.embed_images(image_batch(scenes, 32)),
    )
    assert whole.shape == images.shape == (5, 8)
    torch.testing.assert_close(torch.cat([whole, images]).norm(dim=1), torch.ones(10))
    monkeypatch.setattr(clip_score, "CHUNK", 2)
    torch.testing.assert_close(reader.embed_captions(captions), whole)
    stored = torch.load(folder / "clip.pt", weights_only=True)["average"]
    assert torch.equal(reader.clip.text_projection.weight, stored["text_projection.weight"])


def test_a_folder_without_clip_is_refused_in_one_line(small_recipe, tmp_path):
    with pytest.raises(CheckpointError, match="no vocab") as caught:
        load_clip(tmp_path, small_recipe, CPU)
    assert "\n" not in str(caught.value)


def test_a_clip_of_another_recipe_is_refused_in_one_line(folder):
    from labml_sd.tiny.recipe import Recipe

    with pytest.raises(CheckpointError, match="was trained with another recipe") as caught:
        load_clip(folder, Recipe(), CPU)
    assert "\n" not in str(caught.value)
