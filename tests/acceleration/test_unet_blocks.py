from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from labml_sd.acceleration.unet_blocks import (
    PackedConv2d,
    PackedDownSample,
    PackedResBlock,
    PackedUpSample,
)
from labml_sd.unet.blocks import DownSample, ResBlock, UpSample

SHARE = {torch.float64: 1e-13, torch.float32: 1e-5}


@dataclass
class Case:
    """A layer, its packed class, and the shapes of what it takes."""

    layer: nn.Module
    packed: type[Any]
    shapes: tuple[tuple[int, ...], ...]


CASES = {
    "ResBlock": Case(ResBlock(4, 4, 6, norm_groups=2), PackedResBlock, ((2, 4, 6, 8), (1, 6))),
    "ResBlock, a time for each": Case(
        ResBlock(4, 4, 6, norm_groups=2), PackedResBlock, ((2, 4, 6, 8), (2, 6))
    ),
    "ResBlock that widens, two times for four rows": Case(
        ResBlock(4, 8, 6, norm_groups=2), PackedResBlock, ((4, 4, 6, 8), (2, 6))
    ),
    "convolution": Case(nn.Conv2d(4, 5, 3, padding=1), PackedConv2d, ((2, 4, 6, 8),)),
    "1x1 convolution": Case(nn.Conv2d(4, 5, 1), PackedConv2d, ((2, 4, 6, 8),)),
    "down-sampling": Case(DownSample(4), PackedDownSample, ((2, 4, 6, 8),)),
    "up-sampling": Case(UpSample(4), PackedUpSample, ((2, 4, 6, 8),)),
}


def inputs(case, randn, dtype, layout=torch.contiguous_format):
    x, *others = (randn(*shape, seed=seed).to(dtype) for seed, shape in enumerate(case.shapes))
    return [x.contiguous(memory_format=layout), *others]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("amplitude", [1, 0.01])
@pytest.mark.parametrize("dtype", SHARE)
@pytest.mark.parametrize("name", CASES)
def test_a_packed_block_is_the_plain_one(
    randomise, randn, assert_close, name, dtype, amplitude, layout
):
    case = CASES[name]
    layer = randomise(case.layer.to(dtype))
    assert case.packed.fits(layer)
    x, *others = inputs(case, randn, dtype, layout)
    given = [amplitude * x, *others]
    before = [value.clone() for value in (*given, *layer.parameters())]
    found = case.packed(layer)(*given)
    assert_close(found, layer(*given), SHARE[dtype])
    assert found.is_contiguous(memory_format=torch.channels_last)
    after = (*given, *layer.parameters())
    assert all(torch.equal(*pair) for pair in zip(after, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_in_half_precision_it_is_as_near_the_truth_as_the_plain_one(
    randomise, randn, name, dtype
):
    case = CASES[name]
    layer = randomise(case.layer.to(dtype))
    given = inputs(case, randn, dtype)
    answers = [case.packed(layer)(*given), layer(*given)]
    truth = layer.double()(*(value.double() for value in given))
    errors = [float((y.double() - truth).square().mean().sqrt()) for y in answers]
    # sums of weights are rounded once more in up-sampling: see upsampling.py
    assert errors[0] <= (1.5 if name == "up-sampling" else 1.25) * errors[1]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding="same"),
    ],
)
def test_convolutions_of_other_kinds_do_not_fit(layer):
    assert not PackedConv2d.fits(layer)
