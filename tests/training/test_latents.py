import math

import torch

from labml_sd.autoencoder import Autoencoder
from labml_sd.config import AutoencoderConfig
from labml_sd.training.latents import LatentSet, fingerprint

SMALL = AutoencoderConfig(channels=8, channel_multipliers=(1, 2), n_res_blocks=1, norm_groups=8)


def test_scale_factor_counts_the_spread_of_a_draw_too():
    mean = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    std = torch.tensor([2.0, 2.0]).reshape(2, 1, 1, 1)
    variance = 1.0 + 4.0  # of the means 1, of a draw 4
    assert LatentSet(mean, std).scale_factor == 1 / math.sqrt(variance)


def test_the_fingerprint_depends_on_weights_seed_and_number():
    torch.manual_seed(0)
    one, two = Autoencoder(SMALL), Autoencoder(SMALL)
    same = fingerprint(one, 0, 5), fingerprint(one, 0, 5)
    others = fingerprint(two, 0, 5), fingerprint(one, 1, 5), fingerprint(one, 0, 6)
    assert len({*same, *others}) == 4


def test_the_fingerprint_does_not_depend_on_the_decoder():
    one = Autoencoder(SMALL)
    before = fingerprint(one, 0, 5)
    torch.nn.init.zeros_(one.decoder.conv_out.weight)
    assert fingerprint(one, 0, 5) == before


def test_latents_of_other_masks_are_other_latents():
    one, hidden, shown = Autoencoder(SMALL), torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    before = fingerprint(one, 0, 5, hidden, shown)
    assert fingerprint(one, 0, 5, hidden, shown) == before
    assert before not in (fingerprint(one, 0, 5), fingerprint(one, 0, 5, hidden, hidden))
