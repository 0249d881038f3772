"""The U-Net and its blocks against diffusers, in float64 on random weights.

Latents have unit size and a hundredth of it: at unit size a wrong eps of a norm is nearly
invisible. The prompt's vectors keep their size: near zero all keys are alike, and what the
queries are would not matter.
"""

from dataclasses import replace

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock as TheirTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

from labml_sd.checkpoint.layouts.diffusers import UNET_RESNET
from labml_sd.config import AutoencoderConfig, ModelConfig, TextEncoderConfig, UNetConfig, tiny
from labml_sd.unet.attention import CrossAttention
from labml_sd.unet.blocks import DownSample, ResBlock, UpSample
from labml_sd.unet.spatial_transformer import BasicTransformerBlock
from labml_sd.unet.time_embedding import sinusoids

TEXT = TextEncoderConfig(d_model=12, n_heads=2)
SMALL = UNetConfig(
    channels=8,
    channel_multipliers=(1, 2),
    attention_levels=(0,),
    n_res_blocks=1,
    n_heads=2,
    d_cond=12,
    norm_groups=4,
)
SHAPES = {
    "like SD: four levels, none in the deepest": replace(
        SMALL, channel_multipliers=(1, 2, 4, 4), attention_levels=(0, 1, 2), n_res_blocks=2
    ),
    "the tiny model's": tiny().unet,
    "attention in the deepest level alone": replace(
        SMALL, channel_multipliers=(1, 3, 2), attention_levels=(2,)
    ),
    "two transformer layers, three blocks, nine channels in": replace(
        SMALL, n_transformer_layers=2, n_res_blocks=3, in_channels=9, out_channels=5
    ),
    "like SD v2: heads of one size, linear projections": replace(
        SMALL,
        channel_multipliers=(1, 2, 4),
        attention_levels=(0, 1),
        d_head=4,
        linear_projections=True,
    ),
}


def model_of(unet: UNetConfig) -> ModelConfig:
    return ModelConfig(
        unet=unet,
        text_encoder=replace(TEXT, d_model=unet.d_cond),
        autoencoder=AutoencoderConfig(z_channels=unet.out_channels),
    )


@pytest.fixture(scope="module")
def times(device):
    return torch.tensor([3, 997], device=device)


@pytest.fixture(scope="module", params=SHAPES)
def unets(request, twins):
    return twins("unet", model_of(SHAPES[request.param]))


@pytest.mark.holds("labml_sd.unet.unet.UNet", "fact: small-inputs")
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_the_unet_equals_theirs(unets, relative_error, amplitude, randn, times):
    ours, theirs = unets
    config = ours.config
    height, width = 2 * config.size_multiple, config.size_multiple
    x = amplitude * randn(2, config.in_channels, height, width)
    cond = randn(2, 7, config.d_cond, seed=1)
    expected = theirs(x, times, encoder_hidden_states=cond).sample
    assert relative_error(ours(x, times, cond), expected) < 1e-10


def test_the_unet_equals_theirs_at_times_between_two_steps(
    twins, relative_error, randn, device
):
    ours, theirs = twins("unet", model_of(SMALL))
    x, cond = randn(2, 4, 4, 4), randn(2, 7, 12, seed=1)
    t = torch.tensor([0.25, 731.5], device=device)
    expected = theirs(x, t, encoder_hidden_states=cond).sample
    assert relative_error(ours(x, t, cond), expected) < 1e-10


def test_prompts_that_share_latents_and_time_equal_theirs_row_by_row(
    twins, relative_error, randn, device
):
    ours, theirs = twins("unet", model_of(SMALL))
    x, cond = randn(2, 4, 4, 4), randn(4, 7, 12, seed=1)
    t = torch.tensor([731.5], device=device)
    expected = theirs(torch.cat([x, x]), t, encoder_hidden_states=cond).sample
    assert relative_error(ours(x, t, cond), expected) < 1e-10


@pytest.mark.holds("fact: blind-loading")
def test_one_norm_anywhere_with_another_eps_would_be_seen(twins, relative_error, randn, times):
    ours, theirs = twins("unet", model_of(SMALL))
    x, cond = 0.01 * randn(2, 4, 4, 4), randn(2, 7, 12, seed=1)
    expected = theirs(x, times, encoder_hidden_states=cond).sample
    for name, module in ours.named_modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            right = module.eps
            module.eps = 1e-5 if right == 1e-6 else 1e-6
            assert relative_error(ours(x, times, cond), expected) > 1e-9, name
            module.eps = right


@pytest.mark.holds("labml_sd.unet.blocks.ResBlock")
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
@pytest.mark.parametrize("widths", [(8, 8), (8, 16)])
def test_res_block_equals_resnet_block_2d(twin_of, relative_error, widths, amplitude, randn):
    theirs = ResnetBlock2D(
        in_channels=widths[0], out_channels=widths[1], temb_channels=10, groups=4, eps=1e-5
    )
    ours, theirs = twin_of(ResBlock(*widths, 10, norm_groups=4), theirs, UNET_RESNET)
    x, t_emb = amplitude * randn(2, 8, 5, 3), randn(2, 10, seed=1)
    assert relative_error(ours(x, t_emb), theirs(x, t_emb)) < 1e-12


@pytest.mark.parametrize("with_prompt", [True, False])
def test_cross_attention_equals_theirs(twin_of, relative_error, with_prompt, randn):
    d_cond = 6 if with_prompt else 8
    theirs = Attention(query_dim=8, cross_attention_dim=d_cond, heads=2, dim_head=4)
    ours, theirs = twin_of(CrossAttention(8, d_cond, n_heads=2), theirs)
    x, cond = randn(2, 5, 8), randn(2, 7, 6, seed=1) if with_prompt else None
    assert relative_error(ours(x, cond), theirs(x, encoder_hidden_states=cond)) < 1e-12


@pytest.mark.holds("labml_sd.unet.spatial_transformer.BasicTransformerBlock")
@pytest.mark.parametrize("amplitude", [1.0, 0.01])
def test_transformer_block_equals_theirs(twin_of, relative_error, amplitude, randn):
    theirs = TheirTransformerBlock(
        8, num_attention_heads=2, attention_head_dim=4, cross_attention_dim=6
    )
    ours, theirs = twin_of(BasicTransformerBlock(8, 6, 2), theirs)
    x, cond = amplitude * randn(2, 5, 8), randn(2, 7, 6, seed=1)
    assert relative_error(ours(x, cond), theirs(x, encoder_hidden_states=cond)) < 1e-12


@pytest.mark.holds("fact: unet-pad", "fact: blind-loading")
def test_down_sample_equals_theirs_with_a_pad_on_all_sides(twin_of, relative_error, randn):
    ours, theirs = twin_of(
        DownSample(4), Downsample2D(4, use_conv=True, padding=1, name="op"), {"op": "conv"}
    )
    x = randn(2, 4, 6, 8)
    assert relative_error(ours(x), theirs(x)) < 1e-12


def test_up_sample_equals_theirs(twin_of, relative_error, randn):
    ours, theirs = twin_of(UpSample(4), Upsample2D(4, use_conv=True))
    x = randn(2, 4, 3, 5)
    assert relative_error(ours(x), theirs(x)) < 1e-12


@pytest.mark.holds("labml_sd.unet.time_embedding.sinusoids")
@pytest.mark.parametrize("channels", [8, 320])
def test_the_waves_of_time_equal_theirs_bit_for_bit(channels):
    t = torch.arange(1000)
    theirs = get_timestep_embedding(t, channels, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.equal(sinusoids(t, channels), theirs)
