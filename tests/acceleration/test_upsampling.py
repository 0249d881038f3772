import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from labml_sd.acceleration.upsampling import SUMS, PackedUpConv, sums_of_weights


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def repeated(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


@pytest.fixture(params=[True, False], ids=["biased", "without bias"])
def layer(request, randomise):
    return randomise(nn.Conv2d(5, 7, 3, padding=1, bias=request.param).double())


@pytest.fixture
def everywhere(monkeypatch):
    """In every number type."""
    monkeypatch.setattr(PackedUpConv, "pays", lambda self, x: True)


@pytest.mark.holds("labml_sd.acceleration.upsampling")
def test_the_displayed_equations_are_a_convolution_of_repeated_numbers(randn, assert_close):
    g, x = randn(3), randn(6, seed=1)
    x_below, x_above = F.pad(x, (1, 0))[:-1], F.pad(x, (0, 1))[1:]
    even, odd = g[0] * x_below + (g[1] + g[2]) * x, (g[0] + g[1]) * x + g[2] * x_above
    whole = F.conv1d(x.repeat_interleave(2)[None, None], g[None, None], padding=1)[0, 0]
    assert_close(torch.stack([even, odd], dim=1).flatten(), whole, 1e-14)
    assert_close(
        torch.tensor(SUMS, dtype=g.dtype)[0] @ g, torch.stack([g[0], g[1] + g[2]]), 1e-15
    )
    assert_close(
        torch.tensor(SUMS, dtype=g.dtype)[1] @ g, torch.stack([g[0] + g[1], g[2]]), 1e-15
    )


def test_every_weight_counts_once_at_each_kind_of_position(randn, assert_close):
    g = randn(3, 2, 3, 3)
    assert_close(sums_of_weights(g).sum((-1, -2)), g.sum((-1, -2)).expand(2, 2, 3, 2), 1e-14)


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (3, 5), (1, 8)])
@pytest.mark.parametrize("b", [1, 3])
@pytest.mark.parametrize("amplitude", [1, 0.01])
def test_it_is_the_repetition_and_the_convolution(
    layer, randn, assert_close, everywhere, size, b, amplitude
):
    x, up = amplitude * channels_last(randn(b, 5, *size)), PackedUpConv(layer)
    for _ in range(2):  # weights added, and added already
        y = up(x)
        assert_close(y, layer(repeated(x)), 1e-14)
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_in_every_number_type(layer, randn, assert_close, dtype):
    x = channels_last(randn(2, 5, 4, 6)).to(dtype)
    found = PackedUpConv(layer.to(dtype))(x)
    assert found.dtype == dtype
    assert_close(
        found.double(), layer.double()(repeated(x.double())), 4 * torch.finfo(dtype).eps
    )


def test_it_is_used_in_half_precision_on_a_cpu_only(randn):
    up = PackedUpConv(nn.Conv2d(5, 7, 3, padding=1))
    assert not up.pays(randn(1, 5, 4, 4)) and not up.pays(randn(1, 5, 4, 4).float())
    assert not up.pays(torch.zeros(1, 5, 4, 4, dtype=torch.bfloat16, device="meta"))


def test_four_ninths_of_the_multiplications_are_left(layer, randn, everywhere):
    x, counts = channels_last(randn(2, 5, 40, 40)), []
    for run in (PackedUpConv(layer), lambda x: layer(repeated(x))):
        with FlopCounterMode(display=False) as counter:
            run(x)
        counts.append(counter.get_total_flops())
    assert 4 / 9 <= counts[0] / counts[1] <= 4 / 9 * (41 / 40) ** 2


def test_weights_and_input_are_not_changed(layer, randn, everywhere):
    x = channels_last(randn(1, 5, 4, 4))
    before = [t.clone() for t in (x, layer.weight)]
    PackedUpConv(layer)(x)
    assert all(torch.equal(*pair) for pair in zip((x, layer.weight), before, strict=True))
