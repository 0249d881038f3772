from dataclasses import replace

import pytest
import torch
from torch import nn

from labml_sd.autoencoder.decoder import Decoder
from labml_sd.config import AutoencoderConfig

SMALL = AutoencoderConfig(
    channels=4, channel_multipliers=(1, 2, 3), n_res_blocks=2, norm_groups=2
)


def test_every_norm_uses_eps_1e_minus_6():
    norms = [m for m in Decoder(SMALL).modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 2 * 3 * 3 + 5 + 1  # levels, middle, out
    assert {m.eps for m in norms} == {1e-6}


@pytest.mark.parametrize("height, width", [(1, 1), (2, 3), (5, 1)])
def test_sides_are_multiplied_by_the_factor(height, width):
    assert Decoder(SMALL)(torch.zeros(2, 4, height, width)).shape == (
        2,
        3,
        4 * height,
        4 * width,
    )


def test_level_0_is_the_largest_and_has_no_up_sampling():
    levels = Decoder(SMALL).up
    assert [isinstance(level.upsample, nn.Identity) for level in levels] == [True, False, False]


def test_a_level_has_one_block_more_than_the_encoders():
    decoder = Decoder(replace(SMALL, n_res_blocks=3))
    assert [len(level.block) for level in decoder.up] == [4, 4, 4]


def test_each_level_has_its_width():
    first = [level.block[0].conv1.weight.shape[:2] for level in Decoder(SMALL).up]
    assert first == [(4, 8), (8, 12), (12, 12)]  # (out, in)


def test_blocks_run_from_the_smallest_size_to_the_largest(randomise):
    decoder = randomise(Decoder(SMALL).double())
    z = torch.randn(1, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = decoder.up[0](decoder.up[1](decoder.up[2](decoder.mid(decoder.conv_in(z)))))
    assert torch.equal(decoder(z), decoder.conv_out(nn.functional.silu(decoder.norm_out(x))))
