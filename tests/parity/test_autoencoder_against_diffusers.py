"""The autoencoder and its blocks against diffusers, in float64 on random weights.

Inputs have unit size and a hundredth of it: at unit size a wrong eps of a norm is nearly
invisible.
"""

from dataclasses import replace

import pytest
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from labml_sd.autoencoder.blocks import AttnBlock, DownSample, ResnetBlock, UpSample
from labml_sd.checkpoint.layouts.diffusers import VAE_ATTENTION, VAE_RESNET
from labml_sd.config import AutoencoderConfig, sd_v1, tiny

SMALL = AutoencoderConfig(channels=4, channel_multipliers=(1, 2), n_res_blocks=1, norm_groups=2)
SHAPES = {
    "like SD: four levels, two blocks": replace(
        SMALL, channels=8, channel_multipliers=(1, 2, 4, 4), n_res_blocks=2, norm_groups=4
    ),
    "the tiny model's": tiny().autoencoder,
    "two levels": SMALL,
}


@pytest.fixture(scope="module", params=SHAPES)
def autoencoders(request, twins):
    return twins("autoencoder", replace(sd_v1(), autoencoder=SHAPES[request.param]))


@pytest.mark.holds("fact: small-inputs")
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_the_moments_equal_theirs(autoencoders, relative_error, amplitude, randn):
    ours, theirs = autoencoders
    factor = ours.config.downsampling_factor
    image = amplitude * randn(2, 3, 3 * factor, 2 * factor)
    posterior, expected = ours.posterior(image), theirs.encode(image).latent_dist
    assert relative_error(posterior.mean, expected.mean) < 1e-10
    assert relative_error(posterior.log_var, expected.logvar) < 1e-10


@pytest.mark.holds("labml_sd.autoencoder.autoencoder.Autoencoder", "fact: small-inputs")
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_the_decoded_image_equals_theirs(autoencoders, relative_error, amplitude, randn):
    ours, theirs = autoencoders
    z = amplitude * randn(2, 4, 3, 2)
    expected = theirs.decode(z / theirs.config.scaling_factor).sample
    assert relative_error(ours.decode(z), expected) < 1e-10


@pytest.mark.holds("labml_sd.autoencoder.autoencoder.Autoencoder")
def test_the_scaled_latent_equals_theirs(autoencoders, relative_error, randn):
    ours, theirs = autoencoders
    side = ours.config.downsampling_factor
    image = randn(1, 3, 2 * side, side)
    expected = theirs.encode(image).latent_dist.mode() * theirs.config.scaling_factor
    assert relative_error(ours.encode(image), expected) < 1e-10


@pytest.mark.holds("labml_sd.autoencoder.gaussian.GaussianPosterior.kl")
def test_the_divergence_equals_theirs(autoencoders, relative_error, randn):
    ours, theirs = autoencoders
    side = ours.config.downsampling_factor
    image = randn(2, 3, 2 * side, side)
    expected = theirs.encode(image).latent_dist.kl()
    assert relative_error(ours.posterior(image).kl(), expected) < 1e-10


@pytest.mark.holds("fact: blind-loading")
def test_one_norm_anywhere_with_another_eps_would_be_seen(twins, relative_error, randn):
    ours, theirs = twins("autoencoder", replace(sd_v1(), autoencoder=SMALL))
    image, z = 0.01 * randn(1, 3, 4, 6), 0.01 * randn(1, 4, 2, 3)
    moments = theirs.encode(image).latent_dist.parameters
    decoded = theirs.decode(z).sample
    for side in (ours.encoder, ours.decoder):
        for name, module in side.named_modules():
            if isinstance(module, nn.GroupNorm):
                module.eps = 1e-5
                if side is ours.encoder:
                    error = relative_error(ours.quant_conv(side(image)), moments)
                else:
                    error = relative_error(side(ours.post_quant_conv(z)), decoded)
                assert error > 1e-9, name
                module.eps = 1e-6


@pytest.mark.holds("labml_sd.autoencoder.blocks.ResnetBlock")
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
@pytest.mark.parametrize("widths", [(8, 8), (8, 16)])
def test_resnet_block_equals_resnet_block_2d_without_time(
    twin_of, relative_error, widths, amplitude, randn
):
    theirs = ResnetBlock2D(
        in_channels=widths[0], out_channels=widths[1], temb_channels=None, groups=4, eps=1e-6
    )
    ours, theirs = twin_of(ResnetBlock(*widths, norm_groups=4), theirs, VAE_RESNET)
    x = amplitude * randn(2, 8, 5, 3)
    assert relative_error(ours(x), theirs(x, None)) < 1e-12


@pytest.mark.holds("labml_sd.autoencoder.blocks.AttnBlock")
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_attn_block_equals_theirs_with_one_head(twin_of, relative_error, amplitude, randn):
    theirs = Attention(
        query_dim=8,
        heads=1,
        dim_head=8,
        norm_num_groups=4,
        eps=1e-6,
        bias=True,
        residual_connection=True,
    )
    ours, theirs = twin_of(AttnBlock(8, norm_groups=4), theirs, VAE_ATTENTION)
    x = amplitude * randn(2, 8, 5, 3)
    assert relative_error(ours(x), theirs(x)) < 1e-12


@pytest.mark.holds("fact: vae-pad", "fact: blind-loading")
def test_down_sample_equals_theirs_with_a_pad_at_the_right_and_the_bottom(
    twin_of, relative_error, randn
):
    ours, theirs = twin_of(DownSample(4), Downsample2D(4, use_conv=True, padding=0, name="op"))
    x = randn(2, 4, 6, 8)
    assert relative_error(ours(x), theirs(x)) < 1e-12


def test_up_sample_equals_theirs(twin_of, relative_error, randn):
    ours, theirs = twin_of(UpSample(4), Upsample2D(4, use_conv=True))
    x = randn(2, 4, 3, 5)
    assert relative_error(ours(x), theirs(x)) < 1e-12
