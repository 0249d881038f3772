import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labml_sd.acceleration.copies import Weights
from labml_sd.acceleration.layers import PackedConv, PackedLinear
from labml_sd.acceleration.onednn import packs

MANY_ROWS = 600
SHARE = {torch.float64: 1e-14, torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-9}
LAYERS = {
    "3x3": {"kernel_size": 3, "padding": 1},
    "1x1": {"kernel_size": 1},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "strided, padded by the caller": {"kernel_size": 3, "stride": 2},
}


@pytest.fixture(params=LAYERS)
def layer(request, randomise):
    return randomise(nn.Conv2d(5, 7, **LAYERS[request.param]).double())


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", SHARE)
def test_a_convolution_is_the_layers_in_every_number_type(layer, randn, assert_close, dtype):
    x = randn(2, 5, 6, 9).to(dtype)
    found = PackedConv.of(layer.to(dtype))(channels_last(x))
    layer.double()
    assert found.dtype == dtype
    assert_close(found.double(), layer(x.double()), SHARE[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_convolution_packed_at_one_size_computes_others(layer, randn, assert_close, dtype):
    conv = PackedConv.of(layer.to(dtype))
    for shape in [(2, 5, 4, 4), (1, 5, 40, 24), (3, 5, 5, 17)]:
        x = channels_last(randn(*shape).to(dtype))
        assert_close(conv(x), layer(x), SHARE[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bias_and_padding_may_be_given(layer, randn, assert_close, dtype):
    x, bias = channels_last(randn(2, 5, 6, 9).to(dtype)), randn(7, seed=1).to(dtype)
    found = PackedConv.of(layer.to(dtype))(x, bias, [0, 1])
    assert_close(found, F.conv2d(x, layer.weight, bias, layer.stride, (0, 1)), SHARE[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_map_stays_in_channels_last_memory(layer, randn, dtype):
    y = PackedConv.of(layer.to(dtype))(channels_last(randn(2, 5, 6, 9).to(dtype)))
    assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", SHARE)
@pytest.mark.parametrize("gelu", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("rows", [6, MANY_ROWS])
def test_a_linear_layer_is_that_of_pytorch_and_its_gelu_exact(
    randn, assert_close, dtype, gelu, biased, rows
):
    weight, bias = randn(7, 5, seed=1).to(dtype), randn(7, seed=2).to(dtype) if biased else None
    x = randn(2, rows, 5).to(dtype)
    y = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    found = PackedLinear(Weights(weight), bias)(x, gelu=gelu)
    assert found.dtype == dtype
    assert_close(found.double(), F.gelu(y) if gelu else y, SHARE[dtype])


@pytest.mark.parametrize("dtype", SHARE)
@pytest.mark.parametrize("size", [(2, 6, 9), (1, 1, 1), (3, 8, 1)])
def test_a_convolution_plus_and_times_another_map(layer, randn, assert_close, dtype, size):
    b, *sides = size
    conv = PackedConv.of(layer.to(dtype))
    for seed in (0, 1):  # packed at the first call, used again at the second
        x = channels_last(randn(b, 5, *(side + 2 for side in sides), seed=seed).to(dtype))
        result = layer.double()(x.double())
        y = channels_last(randn(*result.shape, seed=2).to(dtype))
        layer.to(dtype)
        before = x.clone(), y.clone()
        assert_close(conv.plus(x, y).double(), result + y.double(), SHARE[dtype])
        assert_close(conv.times(x, y).double(), result * y.double(), SHARE[dtype])
        assert torch.equal(x, before[0]) and torch.equal(y, before[1])
        assert conv.onto(x, y).data_ptr() == y.data_ptr()
        assert_close(y.double(), result + before[1].double(), SHARE[dtype])
        assert torch.equal(x, before[0])


@pytest.mark.parametrize("dtype", SHARE)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("size", [(2, 6), (1, 1), (3, 1), (1, MANY_ROWS)])
@pytest.mark.parametrize("d, d2", [(5, 7), (1, 3), (4, 1), (32, 32)])
def test_a_linear_layer_plus_and_times_other_tokens(
    randn, assert_close, dtype, biased, size, d, d2
):
    weight = randn(d2, d, seed=1).to(dtype)
    bias = randn(d2, seed=2).to(dtype) if biased else None
    linear = PackedLinear(Weights(weight), bias)
    for seed in (3, 4):
        x, y = randn(*size, d, seed=seed).to(dtype), randn(*size, d2, seed=seed + 2).to(dtype)
        before = x.clone(), y.clone()
        result = x.double() @ weight.double().t() + (0 if bias is None else bias.double())
        assert_close(linear.times(x, y).double(), y.double() * result, SHARE[dtype])
        assert_close(linear.plus(x, y).double(), y.double() + result, SHARE[dtype])
        assert torch.equal(x, before[0]) and torch.equal(y, before[1])
        assert linear.onto(x, y) is y
        assert_close(y.double(), before[1].double() + result, SHARE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_linear_layer_is_added_to_some_rows_of_many(randn, assert_close, dtype):
    weight, x, y = (
        randn(7, 5).to(dtype),
        randn(1, 20, 5, seed=1).to(dtype),
        randn(1, 20, 7, seed=2).to(dtype),
    )
    wanted = y.double()
    wanted[:, 4:9] += x[:, 4:9].double() @ weight.double().t()
    PackedLinear(Weights(weight)).onto(x[:, 4:9], y[:, 4:9])
    assert_close(y.double(), wanted, SHARE[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_linear_layer_packed_for_some_rows_computes_others_and_takes_views(
    randn, assert_close, dtype
):
    weight = randn(5, 14, seed=1).to(dtype).t().chunk(2)[1]
    linear = PackedLinear(Weights(weight))
    for shape in [(2, 6, 5), (1, 2 * MANY_ROWS, 5), (3, 1, 5)]:
        x = randn(*shape).to(dtype)
        assert_close(linear(x), x @ weight.t(), SHARE[dtype])


@pytest.mark.parametrize("dtype", SHARE)
@pytest.mark.parametrize("rows", [6, MANY_ROWS])
def test_several_weights_are_one_product(randn, assert_close, dtype, rows):
    weights = [randn(n, 5, seed=n).to(dtype) for n in (3, 4)]
    x = randn(1, rows, 5).to(dtype)
    found = PackedLinear(Weights(*weights))(x)
    assert_close(found.double(), x.double() @ torch.cat(weights).double().t(), SHARE[dtype])


def test_weights_are_packed_once(randomise, randn):
    conv, linear = (
        PackedConv.of(randomise(nn.Conv2d(5, 7, 1))),
        PackedLinear(Weights(randn(7, 5).float())),
    )
    image, rows = channels_last(randn(1, 5, 4, 4).float()), randn(1, 6, 5).float()
    conv(image), linear(rows)
    first = conv.packed, linear.packed
    conv(image), linear(rows)
    assert (conv.packed is first[0]) and (linear.packed is first[1])
    assert [p is not None for p in first] == [packs(image), packs(rows)]


def test_neither_weights_nor_input_are_changed(layer, randn):
    layer.float()
    x = channels_last(randn(2, 5, 6, 9).float())
    before = [t.clone() for t in (x, layer.weight, layer.bias)]
    PackedConv.of(layer)(x)
    assert all(
        torch.equal(*pair) for pair in zip((x, layer.weight, layer.bias), before, strict=True)
    )
