import pytest
import torch

from labml_sd.acceleration import transformer
from labml_sd.acceleration.transformer import (
    FastAttention,
    FastFeedForward,
    FastTransformer,
    for_each,
)
from labml_sd.unet.attention import CrossAttention, FeedForward
from labml_sd.unet.spatial_transformer import SpatialTransformer


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def test_a_batch_is_repeated_whole_and_not_row_by_row():
    x = torch.tensor([[1.0], [2.0]])
    assert for_each(x, 4).flatten().tolist() == [1, 2, 1, 2]
    assert for_each(x, 2) is x


def test_self_attention_is_the_plain_one(randomise, randn, assert_close):
    attention = randomise(CrossAttention(8, 8, n_heads=2).double())
    x, around = randn(3, 5, 8), randn(3, 5, 8, seed=1)
    found = FastAttention(attention, to_itself=True)(x, around.clone())
    assert_close(found, around + attention(x), 1e-14)


@pytest.mark.parametrize("rows", [2, 4])
def test_attention_to_prompts_gives_a_row_for_each_of_them(
    randomise, randn, assert_close, rows
):
    attention = randomise(CrossAttention(8, 6, n_heads=2).double())
    x, cond = randn(2, 5, 8), randn(rows, 7, 6, seed=1)
    ready, around = FastAttention(attention, to_itself=False), randn(rows, 5, 8, seed=2)
    found = ready(x, around.clone(), ready.keys_and_values(cond))
    assert_close(found, around + attention(for_each(x, rows), cond), 1e-14)


@pytest.mark.parametrize("column_bytes", [64 * 8, 70 * 8, 2**12])
def test_feed_forward_in_slices_is_the_whole_one(
    randomise, randn, assert_close, monkeypatch, column_bytes
):
    monkeypatch.setattr(transformer, "COLUMN_BYTES", column_bytes)
    layer = randomise(FeedForward(6).double())
    x, around = randn(3, 67, 6), randn(3, 67, 6, seed=1)  # in slices of 64: a last one of 9
    before, onto = x.clone(), around.clone()
    assert FastFeedForward(layer)(x, onto) is onto
    assert_close(onto, around + layer(x), 1e-14)
    assert torch.equal(x, before)


def test_a_slice_of_the_feed_forward_has_twice_as_many_rows_where_numbers_are_narrow(
    randomise, randn, monkeypatch
):
    monkeypatch.setattr(transformer, "COLUMN_BYTES", 400)
    layer, sizes = randomise(FeedForward(6)), []
    for dtype in (torch.float32, torch.bfloat16):
        ready = FastFeedForward(layer.to(dtype))
        onto = ready.out.onto
        monkeypatch.setattr(
            ready.out, "onto", lambda x, y, onto=onto: sizes.append(x.shape[1]) or onto(x, y)
        )
        ready(*randn(2, 3, 70, 6).to(dtype))
    assert sizes == [100, 100, 10, 200, 10]


@pytest.mark.parametrize("n_layers", [1, 2])
@pytest.mark.parametrize("rows", [2, 4])
@pytest.mark.parametrize("amplitude", [1, 0.01])
def test_the_transformer_is_the_plain_one(
    randomise, randn, assert_close, n_layers, rows, amplitude
):
    block = randomise(
        SpatialTransformer(8, 6, n_heads=2, n_layers=n_layers, norm_groups=4).double()
    )
    x, cond = amplitude * channels_last(randn(2, 8, 3, 5)), randn(rows, 7, 6, seed=1)
    ready, wanted = FastTransformer(block), block(for_each(x, rows), cond)
    found = ready(x, ready.keys_and_values(cond))
    assert_close(found, wanted, 1e-13)
    assert found.is_contiguous(memory_format=torch.channels_last)
