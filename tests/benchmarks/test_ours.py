import pytest
import torch
from ours import decoding, embedding, encoding, guided_step, variants

from labml_sd.checkpoint import load_model


@pytest.fixture(scope="module")
def tiny():
    return load_model(device="cpu", dtype="float32", fast=True)


def test_both_variants_have_the_same_weights_and_one_is_accelerated(tiny):
    assert variants(tiny, plain=False) == {"ours": tiny}
    ours, plain = variants(tiny, plain=True).values()
    assert (ours.fast, plain.fast) == (True, False)
    assert ours.unet is plain.unet and ours.autoencoder is plain.autoencoder
    assert ours.text_encoder is plain.text_encoder


@torch.no_grad()
def test_both_variants_compute_the_same(tiny):
    generator = torch.Generator().manual_seed(0)
    z, image = torch.randn(1, 4, 16, 16, generator=generator), torch.rand(1, 3, 64, 64)
    cond = tiny.encode_prompt(["a house", ""])
    answers = []
    for model in variants(tiny, plain=True).values():
        step = guided_step(model, cond[:1], cond[1:], 3.0)
        calls = (embedding(model, ["a cat"]), decoding(model, z), encoding(model, image))
        answers.append([step(z, tiny.schedule.level(500)), *(call() for call in calls)])
    for accelerated, plain in zip(*answers, strict=True):
        torch.testing.assert_close(accelerated, plain, rtol=0, atol=1e-4)
