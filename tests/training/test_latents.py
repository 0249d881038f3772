import math

import torch

from labml_sd.autoencoder import Autoencoder
from labml_sd.config import AutoencoderConfig
from labml_sd.training.latents import LatentSet, fingerprint


def test_scale_factor_counts_the_spread_of_a_draw_too():
    mean = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    std = torch.tensor([2.0, 2.0]).reshape(2, 1, 1, 1)
    assert LatentSet(mean, std).scale_factor == 1 / math.sqrt(
        1.0 + 4.0
    )  # variance of the means 1, of a draw 4


def test_the_fingerprint_depends_on_weights_seed_and_number():
    torch.manual_seed(0)
    small = AutoencoderConfig(
        channels=8, channel_multipliers=(1, 2), n_res_blocks=1, norm_groups=8
    )
    one, two = Autoencoder(small), Autoencoder(small)
    assert fingerprint(one, 0, 5) == fingerprint(one, 0, 5)
    assert (
        len(
            {
                fingerprint(one, 0, 5),
                fingerprint(two, 0, 5),
                fingerprint(one, 1, 5),
                fingerprint(one, 0, 6),
            }
        )
        == 4
    )


def test_the_fingerprint_does_not_depend_on_the_decoder():
    small = AutoencoderConfig(
        channels=8, channel_multipliers=(1, 2), n_res_blocks=1, norm_groups=8
    )
    one = Autoencoder(small)
    before = fingerprint(one, 0, 5)
    torch.nn.init.zeros_(one.decoder.conv_out.weight)
    assert fingerprint(one, 0, 5) == before
