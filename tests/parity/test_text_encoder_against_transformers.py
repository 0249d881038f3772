"""The CLIP text transformer against transformers, in float64 on random weights.

Embeddings have unit size and a hundredth of it: at unit size a wrong eps of a norm is nearly
invisible.
"""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from labml_sd.config import ModelConfig, TextEncoderConfig, UNetConfig, tiny

SMALL = TextEncoderConfig(
    vocab_size=40,
    n_positions=16,
    d_model=12,
    n_layers=3,
    n_heads=2,
    d_mlp=20,
    bos_id=38,
    eos_id=39,
)
SHAPES = {
    "quick_gelu": SMALL,
    "gelu": replace(SMALL, activation="gelu"),
    "the tiny model's": tiny().text_encoder,
}


@pytest.fixture(scope="module")
def make_encoders(twins):
    def make(text: TextEncoderConfig, amplitude: float):
        ours, theirs = twins(
            "text_encoder", ModelConfig(text_encoder=text, unet=UNetConfig(d_cond=text.d_model))
        )
        for parameter in ours.embeddings.parameters():
            parameter.mul_(amplitude)  # theirs too: the two share their memory
        return ours, theirs

    return make


@pytest.fixture(scope="module", params=list(product(SHAPES, (1.0, 0.01))), ids=str)
def encoders(request, make_encoders):
    name, amplitude = request.param
    return make_encoders(SHAPES[name], amplitude)


def make_ids(config: TextEncoderConfig, device: torch.device) -> torch.Tensor:
    """Three prompts: an empty one, one of half the length, and one of the full length."""
    n = config.n_positions
    ids = torch.randint(0, config.bos_id, (3, n), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = config.bos_id
    for row, end in enumerate((1, n // 2, n - 1)):
        ids[row, end:] = config.eos_id
    return ids.to(device)


@pytest.mark.holds("fact: small-inputs")
def test_every_hidden_state_equals_theirs(encoders, relative_error, device):
    ours, theirs = encoders
    ids = make_ids(ours.config, device)
    expected = theirs(ids, output_hidden_states=True).hidden_states
    for state, their_state in zip(ours.hidden_states(ids), expected, strict=True):
        assert relative_error(state, their_state) < 1e-10


def test_the_output_equals_theirs(encoders, relative_error, device):
    ours, theirs = encoders
    ids = make_ids(ours.config, device)
    assert relative_error(ours(ids), theirs(ids).last_hidden_state) < 1e-10


def test_the_pooled_vector_equals_theirs(encoders, relative_error, device):
    ours, theirs = encoders
    ids = make_ids(ours.config, device)
    assert relative_error(ours.pooled(ids), theirs(ids).pooler_output) < 1e-10


@pytest.mark.holds("fact: blind-loading")
def test_one_norm_anywhere_with_another_eps_would_be_seen(
    make_encoders, relative_error, device
):
    ours, theirs = make_encoders(SMALL, 0.01)
    ids = make_ids(SMALL, device)
    expected = theirs(ids).last_hidden_state
    for name, module in ours.named_modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
            assert relative_error(ours(ids), expected) > 1e-9, name
            module.eps = 1e-5


@pytest.mark.holds("fact: blind-loading")
def test_the_other_activation_would_be_seen(make_encoders, relative_error, device):
    ours, theirs = make_encoders(SMALL, 1.0)
    for layer in ours.encoder.layers:
        layer.mlp.activation = nn.functional.gelu
    ids = make_ids(SMALL, device)
    assert relative_error(ours(ids), theirs(ids).last_hidden_state) > 1e-4
