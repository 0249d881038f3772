import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from labml_sd.unet import attention as attention_module
from labml_sd.unet.attention import (
    ATTENTION,
    CrossAttention,
    FeedForward,
    GeGLU,
    attention_probabilities,
    flash_attention,
    normal_attention,
    sliced_attention,
)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.holds("labml_sd.unet.attention.attention_probabilities")
def test_probabilities_follow_the_equation():
    q, k = randn(1, 1, 2, 3), randn(1, 1, 4, 3, seed=1)
    probabilities = attention_probabilities(q, k)[0, 0]
    for n in range(2):
        scores = [
            math.exp(sum((q[0, 0, n] * k[0, 0, m]).tolist()) / math.sqrt(3)) for m in range(4)
        ]
        assert probabilities[n].tolist() == pytest.approx([s / sum(scores) for s in scores])


def test_the_weights_of_a_query_over_the_keys_sum_to_one():
    probabilities = attention_probabilities(randn(2, 3, 5, 4), randn(2, 3, 7, 4, seed=1))
    assert probabilities.shape == (2, 3, 5, 7)
    torch.testing.assert_close(
        probabilities.sum(dim=-1), torch.ones(2, 3, 5, dtype=torch.float64)
    )


def test_the_root_keeps_the_scores_variance_at_one_for_every_width():
    for width in (4, 256):
        probabilities = attention_probabilities(
            randn(1, 1, 500, width), randn(1, 1, 500, width, seed=1)
        )
        log_weights = probabilities.log()
        scores = log_weights - log_weights.mean(dim=-1, keepdim=True)
        assert scores.var().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.holds("labml_sd.unet.attention.attention_probabilities")
def test_normal_and_flash_attention_give_the_same_numbers():
    q, k, v = randn(2, 3, 5, 4), randn(2, 3, 7, 4, seed=1), randn(2, 3, 7, 4, seed=2)
    torch.testing.assert_close(
        flash_attention(q, k, v), normal_attention(q, k, v), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("slice_bytes", [1, 2 * 42 * 8, 3 * 42 * 8, 2**26])
def test_sliced_attention_gives_the_same_numbers_for_slices_of_any_size(
    monkeypatch, slice_bytes
):
    monkeypatch.setattr(attention_module, "SLICE_BYTES", slice_bytes)
    q, k, v = randn(2, 3, 5, 4), randn(2, 3, 7, 4, seed=1), randn(2, 3, 7, 4, seed=2)
    torch.testing.assert_close(
        sliced_attention(q, k, v), normal_attention(q, k, v), rtol=1e-12, atol=1e-12
    )


def test_sliced_attention_holds_the_weights_of_a_slice_and_no_more(monkeypatch):
    sizes = []
    formula = attention_module.attention_probabilities
    monkeypatch.setattr(
        attention_module,
        "attention_probabilities",
        lambda q, k: sizes.append(formula(q, k).nbytes) or formula(q, k),
    )
    monkeypatch.setattr(attention_module, "SLICE_BYTES", 3 * 42 * 8)
    sliced_attention(randn(2, 3, 11, 4), randn(2, 3, 7, 4), randn(2, 3, 7, 4))
    assert [size // (42 * 8) for size in sizes] == [3, 3, 3, 2]


def test_a_key_that_matches_alone_is_the_answer():
    keys = torch.eye(3, dtype=torch.float64)[None, None]
    values = randn(1, 1, 3, 3)
    torch.testing.assert_close(normal_attention(1000 * keys, keys, values), values)


@pytest.fixture
def cross(randomise):
    return randomise(CrossAttention(8, 6, n_heads=2).double())


@pytest.mark.parametrize("kind", ["normal", "sliced"])
def test_the_module_gives_the_same_numbers_in_every_kind(cross, monkeypatch, kind):
    monkeypatch.setattr(attention_module, "SLICE_BYTES", 2 * 28 * 8)
    x, cond = randn(2, 5, 8), randn(2, 7, 6, seed=1)
    flash = cross(x, cond)
    cross.kind = kind
    torch.testing.assert_close(cross(x, cond), flash, rtol=1e-12, atol=1e-12)


def test_each_head_attends_with_its_own_neighbouring_features(cross):
    x, cond = randn(1, 5, 8), randn(1, 7, 6, seed=1)
    q, k, v = cross.to_q(x), cross.to_k(cond), cross.to_v(cond)
    heads = []
    for features in (slice(0, 4), slice(4, 8)):
        weights = (q[..., features] @ k[..., features].mT / 4**0.5).softmax(dim=-1)
        heads.append(weights @ v[..., features])
    torch.testing.assert_close(cross(x, cond), cross.to_out[0](torch.cat(heads, dim=-1)))


def test_without_a_condition_it_listens_to_itself(randomise):
    attention = randomise(CrossAttention(8, 8, n_heads=2).double())
    x = randn(2, 5, 8)
    assert torch.equal(attention(x), attention(x, x))


def test_the_order_of_what_is_listened_to_does_not_matter(cross):
    x, cond = randn(1, 5, 8), randn(1, 7, 6, seed=1)
    torch.testing.assert_close(cross(x, cond), cross(x, cond.flip(1)))


def test_queries_keys_and_values_have_no_bias_and_the_output_has_one(cross):
    assert (cross.to_q.bias, cross.to_k.bias, cross.to_v.bias) == (None, None, None)
    assert cross.to_out[0].bias is not None


@pytest.mark.holds("labml_sd.unet.attention.GeGLU")
def test_geglu_takes_the_first_half_as_the_value_and_the_second_as_the_gate(randomise):
    layer = randomise(GeGLU(3, 4).double())
    x = randn(2, 5, 3)
    weight, bias = layer.proj.weight, layer.proj.bias
    value, gate = x @ weight[:4].T + bias[:4], x @ weight[4:].T + bias[4:]
    exact_gelu = gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2)))
    torch.testing.assert_close(layer(x), value * exact_gelu)


def test_feed_forward_widens_by_four_and_narrows_again(randomise):
    layer = randomise(FeedForward(6).double())
    assert layer.net[0].proj.weight.shape == (48, 6)  # four times, for value and gate
    x = randn(1, 5, 6)
    torch.testing.assert_close(
        layer(x), F.linear(layer.net[0](x), layer.net[2].weight, layer.net[2].bias)
    )


def test_feed_forward_treats_each_position_alone(randomise):
    layer = randomise(FeedForward(6).double())
    x = randn(1, 5, 6)
    torch.testing.assert_close(layer(x)[:, 2:3], layer(x[:, 2:3]))


@pytest.mark.parametrize("kind", ["flash", "normal", "sliced"])
def test_scores_beyond_the_range_of_float16_give_no_nan(kind):
    # As in SD v2: a product of 300 * 300 * 64 is 88 times the largest number of float16.
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 16, 64, generator=draw) for _ in range(3))
    q, k = 300 * q.sign(), 300 * k.sign()
    assert torch.einsum("bhnd,bhmd->bhnm", q, k).abs().max() > 65504
    found = ATTENTION[kind](q.half(), k.half(), v.half())
    assert torch.isfinite(found).all()
    torch.testing.assert_close(
        found.float(), normal_attention(q, k, v.half().float()), rtol=0.01, atol=0.01
    )
