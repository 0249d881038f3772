import pytest
import torch

from labml_sd.interrogator.image_tower import (
    MAX_LOGIT_SCALE,
    ImageTower,
    ImageTowerConfig,
    pooled,
)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    config = ImageTowerConfig(d_text=16, d_embed=8, grid=32, channels=8, d_hidden=12)
    return ImageTower(config).requires_grad_(False)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (20, 50)])
def test_pictures_of_any_size_become_unit_vectors(tower, size):
    vectors = tower.embed_image(torch.rand(3, 3, *size))
    assert vectors.shape == (3, 8)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_texts_become_unit_vectors_of_the_same_space(tower):
    vectors = tower.embed_text(torch.randn(5, 16))
    assert vectors.shape == (5, 8)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))


def test_left_and_right_are_different(tower):
    image = torch.rand(1, 3, 32, 32)
    seen, mirrored = tower.embed_image(image), tower.embed_image(image.flip(-1))
    assert (seen - mirrored).abs().max() > 1e-3


def test_the_scale_has_an_upper_bound(tower):
    assert tower.scale == pytest.approx(1 / 0.07)
    tower.logit_scale.fill_(20.0)
    assert tower.scale == MAX_LOGIT_SCALE


def test_a_caption_s_vector_does_not_depend_on_the_captions_beside_it(model):
    text = model.text_encoder
    captions = ["a red house in the snow at night", "a cat", ""]
    together = pooled(text, captions)
    alone = torch.cat([pooled(text, [caption]) for caption in captions])
    torch.testing.assert_close(together, alone)
    whole = text.transformer.pooled(text.ids(captions))
    torch.testing.assert_close(together, whole)
