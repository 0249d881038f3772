import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from labml_sd.acceleration import winograd
from labml_sd.acceleration.layers import PackedConv
from labml_sd.acceleration.winograd import (
    POINTS,
    Winograd,
    from_points,
    pays,
    to_points,
    weights_at_points,
)

TILES = sorted(POINTS)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def as_matrix(transform, tile, wide, high):
    """What a transform does to each unit vector, a column each."""
    out = torch.zeros(high, wide, dtype=torch.float64)
    transform(tile, torch.eye(wide, dtype=torch.float64).unbind(), out.unbind())
    return out


@pytest.mark.holds("labml_sd.acceleration.winograd")
@pytest.mark.parametrize("tile", TILES)
def test_the_displayed_equation_is_a_convolution(randn, assert_close, tile):
    n = tile + 2
    b_t, a_t = as_matrix(to_points, tile, n, n), as_matrix(from_points, tile, n, tile)
    weights, d, g = weights_at_points(tile), randn(n, n), randn(3, 3, seed=1)
    y = a_t @ ((weights @ g @ weights.T) * (b_t @ d @ b_t.T)) @ a_t.T
    assert_close(y, F.conv2d(d[None, None], g[None, None])[0, 0], 1e-14)


@pytest.mark.holds("labml_sd.acceleration.winograd.weights_at_points")
def test_on_tiles_of_two_they_are_the_matrices_of_the_paper():
    g = torch.tensor(
        [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype=torch.float64
    )
    b_t = torch.tensor(
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]], dtype=torch.float64
    )
    sign = torch.tensor([-1.0, 1, 1, 1], dtype=torch.float64)[
        :, None
    ]  # of the first point; it cancels
    assert torch.equal(weights_at_points(2), sign * g)
    assert torch.equal(as_matrix(to_points, 2, 4, 4), sign * b_t)
    assert as_matrix(from_points, 2, 4, 2).tolist() == [[1, 1, 1, 0], [0, 1, -1, 1]]


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (5, 7), (3, 3), (34, 6)])
@pytest.mark.parametrize("padding", [(1, 1), (0, 1), (0, 0)])
@pytest.mark.parametrize("block_bytes", [1, 20_000, 2**30])
@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_it_is_the_convolution(
    randn, assert_close, monkeypatch, tile, size, padding, block_bytes, scale
):
    monkeypatch.setattr(winograd, "BLOCK_BYTES", block_bytes)
    x, weight, bias = (
        scale * randn(3, 5, *size),
        randn(7, 5, 3, 3, seed=1),
        scale * randn(7, seed=2),
    )
    found = Winograd(weight)
    assert found.tile == tile
    for b in (bias, None):
        y = found(channels_last(x), b, padding)
        assert_close(y, F.conv2d(x, weight, b, padding=padding), 1e-14)
        assert y.is_contiguous(memory_format=torch.channels_last)


def test_a_quarter_of_the_multiplications_is_left(randn, tile):
    layer, x = Winograd(randn(96, 96, 3, 3)), channels_last(randn(2, 96, 32, 16))
    with FlopCounterMode(display=False) as flops:
        layer(x, None, (1, 1))
    direct = 2 * 9 * 96**2 * x[:, 0].numel()
    assert flops.get_total_flops() / direct == (tile + 2) ** 2 / (9 * tile**2)


def error(weight, x):
    """Of tiles in float32: the root of the mean square, in units of the results' spread."""
    truth = F.conv2d(x, weight, padding=1)
    found = Winograd(weight.float())(channels_last(x.float()), None, (1, 1))
    return float((found.double() - truth).square().mean().sqrt() / truth.std())


def test_in_float32_it_loses_little_and_the_points_of_the_paper_lose_more(
    randn, tile, monkeypatch
):
    weight, x = randn(64, 320, 3, 3, seed=1) / (9 * 320) ** 0.5, randn(1, 320, 32, 32)
    ours = error(weight, x)
    assert ours < 2e-6
    if tile == 4:
        monkeypatch.setitem(POINTS, 4, (1.0, 2.0))
        assert 2 * ours < error(weight, x)


@pytest.mark.parametrize("has, fewest", [("AVX512", 192), ("AVX2", 96), ("DEFAULT", 96)])
def test_it_is_used_where_it_pays(randn, monkeypatch, has, fewest):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: has)
    x = channels_last(randn(1, fewest, 16, 16).float())
    wide, narrow = (torch.empty(n, fewest, 3, 3) for n in (fewest, fewest - 1))
    assert pays(wide, [1, 1], x)
    assert pays(wide, [1, 1], x.double())
    assert not pays(narrow, [1, 1], x)
    assert not pays(wide, [2, 2], x)
    assert not pays(torch.empty(fewest, fewest, 1, 1), [1, 1], x)
    assert not pays(wide, [1, 1], x[..., :8])
    flat = x.view(1, fewest, 1, 256)  # a quarter of each tile would be used
    assert not pays(wide, [1, 1], flat)
    assert not pays(wide, [1, 1], x.bfloat16())
    assert not pays(wide, [1, 1], x.to("meta"))


def test_a_layer_that_uses_it_has_no_other_packed_weights_and_changes_none(
    randn, randomise, assert_close
):
    layer, x = (
        randomise(nn.Conv2d(192, 192, 3, padding=1)),
        channels_last(randn(2, 192, 16, 16).float()),
    )
    conv, before = PackedConv.of(layer), [t.clone() for t in (x, *layer.parameters())]
    assert_close(conv(x), layer(x), 1e-5)
    first = conv.winograd
    assert first is not None
    assert_close(conv(x, layer.bias + 1, [0, 1]), layer(x)[:, :, 1:-1] + 1, 1e-5)
    assert conv.winograd is first
    assert conv.packed is None
    assert all(
        torch.equal(*pair) for pair in zip((x, *layer.parameters()), before, strict=True)
    )


def test_where_it_does_not_pay_no_weights_are_made_for_it(randn, randomise):
    conv = PackedConv.of(randomise(nn.Conv2d(192, 192, 3, padding=1)))
    conv(channels_last(randn(1, 192, 8, 8).float()))
    assert conv.winograd is None
