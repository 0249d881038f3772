"""The networks at the size of SD v1 and v2 against diffusers and transformers.

Takes minutes and some 10 GB of memory: `pytest -m "full_size and not gpu" tests/parity`, or
on a GPU `pytest -m "full_size and gpu" tests/parity`.
"""

import pytest
import torch

from labml_sd.config import sd_v1, sd_v2

pytestmark = pytest.mark.full_size


MODELS = pytest.mark.parametrize("config", [sd_v1(), sd_v2()], ids=lambda config: config.name)


@MODELS
def test_the_unet_equals_theirs(twins, relative_error, randn, device, config):
    ours, theirs = twins("unet", config)
    x, cond = 0.01 * randn(1, 4, 16, 16), randn(1, 77, config.unet.d_cond, seed=1)
    t = torch.tensor([321], device=device)
    expected = theirs(x, t, encoder_hidden_states=cond).sample
    assert relative_error(ours(x, t, cond), expected) < 1e-8


def test_the_autoencoder_equals_theirs(twins, relative_error, randn):
    ours, theirs = twins("autoencoder", sd_v1())
    image, z = 0.01 * randn(1, 3, 64, 128), 0.01 * randn(1, 4, 16, 8)
    assert (
        relative_error(ours.encode(image), 0.18215 * theirs.encode(image).latent_dist.mode())
        < 1e-8
    )
    assert relative_error(ours.decode(z), theirs.decode(z / 0.18215).sample) < 1e-8


@MODELS
def test_the_text_encoder_equals_theirs(twins, relative_error, device, config):
    ours, theirs = twins("text_encoder", config)
    ids = torch.tensor([[49406, 320, 736, 1212, *[49407] * 73]], device=device)
    assert relative_error(ours(ids), theirs(ids).last_hidden_state) < 1e-8
