import gc
import weakref

import pytest
import torch

from labml_sd.acceleration import transformer
from labml_sd.acceleration.transformer import (
    PackedAttention,
    PackedFeedForward,
    PackedSpatialTransformer,
)
from labml_sd.unet.attention import CrossAttention, FeedForward
from labml_sd.unet.rows import repeat_rows
from labml_sd.unet.spatial_transformer import SpatialTransformer


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


@pytest.fixture
def block(randomise):
    return randomise(SpatialTransformer(8, 6, n_heads=2, n_layers=2, norm_groups=4).double())


def test_self_attention_is_the_plain_one(randomise, randn, assert_close):
    attention = randomise(CrossAttention(8, 8, n_heads=2).double())
    x, around = randn(3, 5, 8), randn(3, 5, 8, seed=1)
    found = PackedAttention(attention, to_itself=True).onto(x, around.clone())
    assert_close(found, around + attention(x), 1e-14)


@pytest.mark.parametrize("rows", [2, 4])
def test_attention_to_prompts_gives_a_row_for_each_of_them(
    randomise, randn, assert_close, rows
):
    attention = randomise(CrossAttention(8, 6, n_heads=2).double())
    x, cond = randn(2, 5, 8), randn(rows, 7, 6, seed=1)
    packed, around = PackedAttention(attention, to_itself=False), randn(rows, 5, 8, seed=2)
    found = packed.onto(x, around.clone(), packed.keys_and_values(cond))
    assert_close(found, around + attention(repeat_rows(x, rows), cond), 1e-14)


@pytest.mark.parametrize("column_bytes", [64 * 8, 70 * 8, 2**12])
def test_feed_forward_in_slices_is_the_whole_one(
    randomise, randn, assert_close, monkeypatch, column_bytes
):
    monkeypatch.setattr(transformer, "COLUMN_BYTES", column_bytes)
    layer = randomise(FeedForward(6).double())
    x, around = randn(3, 67, 6), randn(3, 67, 6, seed=1)  # in slices of 64: a last one of 9
    before, onto = x.clone(), around.clone()
    assert PackedFeedForward(layer).onto(x, onto) is onto
    assert_close(onto, around + layer(x), 1e-14)
    assert torch.equal(x, before)


def test_a_slice_of_the_feed_forward_has_twice_as_many_rows_in_half_precision(
    randomise, randn, monkeypatch
):
    monkeypatch.setattr(transformer, "COLUMN_BYTES", 400)
    layer, sizes = randomise(FeedForward(6)), []
    for dtype in (torch.float32, torch.bfloat16):
        packed = PackedFeedForward(layer.to(dtype))
        onto = packed.out.onto
        monkeypatch.setattr(
            packed.out, "onto", lambda x, y, onto=onto: sizes.append(x.shape[1]) or onto(x, y)
        )
        packed.onto(*randn(2, 3, 70, 6).to(dtype))
    assert sizes == [100, 100, 10, 200, 10]


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("rows", [2, 4])
@pytest.mark.parametrize("amplitude", [1, 0.01])
@pytest.mark.parametrize("layout", [channels_last, torch.clone])
def test_the_transformer_is_the_plain_one(
    randomise, randn, assert_close, n_layers, rows, amplitude, layout
):
    block = randomise(
        SpatialTransformer(8, 6, n_heads=2, n_layers=n_layers, norm_groups=4).double()
    )
    x, cond = amplitude * layout(randn(2, 8, 3, 5)), randn(rows, 7, 6, seed=1)
    before = x.clone(), cond.clone()
    found = PackedSpatialTransformer(block)(x, cond)
    assert_close(found, block(x, cond), 1e-13)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, before[0]) and torch.equal(cond, before[1])


@pytest.fixture
def projections(monkeypatch):
    """The prompts whose keys are computed."""
    seen, compute = [], PackedAttention.keys_and_values
    monkeypatch.setattr(
        PackedAttention,
        "keys_and_values",
        lambda self, cond: seen.append(cond.clone()) or compute(self, cond),
    )
    return seen


def test_keys_and_values_of_several_prompts_are_computed_once_each(block, randn, projections):
    x, prompts = randn(1, 8, 3, 5), [randn(2, 7, 6, seed=seed) for seed in (1, 2, 3)]
    packed = PackedSpatialTransformer(block)
    first = [packed(x, cond) for cond in prompts]
    again = [packed(x, cond) for cond in prompts]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert len(projections) == len(prompts) * len(block.transformer_blocks)


def test_a_prompt_whose_numbers_are_changed_is_computed_again(block, randn, assert_close):
    x, cond = randn(1, 8, 3, 5), randn(2, 7, 6, seed=1)
    packed = PackedSpatialTransformer(block)
    packed(x, cond)
    cond[0] += 1
    assert_close(packed(x, cond), block(x, cond), 1e-13)


def test_keys_and_values_go_when_their_prompt_goes(block, randn):
    x, cond = randn(1, 8, 3, 5), randn(2, 7, 6, seed=1)
    packed = PackedSpatialTransformer(block)
    packed(x, cond)
    kept = weakref.ref(packed.keys_and_values(cond)[0][0])
    assert kept() is not None
    del cond
    gc.collect()
    assert kept() is None and len(packed.of_prompts) == 0


def test_a_prompt_made_in_inference_mode_is_taken(block, randn, assert_close):
    with torch.inference_mode():
        cond = randn(2, 7, 6, seed=1)
    x = randn(1, 8, 3, 5)
    assert_close(PackedSpatialTransformer(block)(x, cond), block(x, cond.clone()), 1e-13)
