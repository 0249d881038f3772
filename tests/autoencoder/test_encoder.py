from dataclasses import replace

import pytest
import torch
from torch import nn

from labml_sd.autoencoder.encoder import Encoder
from labml_sd.config import AutoencoderConfig

SMALL = AutoencoderConfig(
    channels=4, channel_multipliers=(1, 2, 3), n_res_blocks=2, norm_groups=2
)


def test_every_norm_uses_eps_1e_minus_6():
    norms = [m for m in Encoder(SMALL).modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 2 * 3 * 2 + 5 + 1  # levels, middle, out
    assert {m.eps for m in norms} == {1e-6}


@pytest.mark.parametrize("height, width", [(4, 4), (8, 12), (20, 4)])
def test_sides_are_divided_by_the_factor_and_channels_are_twice_the_latents(height, width):
    moments = Encoder(SMALL)(torch.zeros(2, 3, height, width))
    assert moments.shape == (2, 8, height // 4, width // 4)


def test_all_levels_but_the_last_halve_the_size():
    levels = Encoder(SMALL).down
    assert [isinstance(level.downsample, nn.Identity) for level in levels] == [
        False,
        False,
        True,
    ]


def test_the_number_of_blocks_on_a_level_is_n_res_blocks():
    encoder = Encoder(replace(SMALL, n_res_blocks=3))
    assert [len(level.block) for level in encoder.down] == [3, 3, 3]


def test_blocks_run_from_the_largest_size_to_the_smallest(randomise):
    encoder = randomise(Encoder(SMALL).double())
    image = torch.randn(
        1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    x = encoder.down[2](encoder.down[1](encoder.down[0](encoder.conv_in(image))))
    expected = encoder.conv_out(nn.functional.silu(encoder.norm_out(encoder.mid(x))))
    assert torch.equal(encoder(image), expected)


def test_a_value_at_the_middle_of_the_image_reaches_every_moment(randomise):
    encoder = randomise(Encoder(SMALL).double())
    image = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    changed = image.clone()
    changed[0, 0, 8, 8] = 1.0
    assert (encoder(image) != encoder(changed)).all()  # through the attention
