from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from labml_sd.config import UNetConfig, tiny
from labml_sd.unet import UNet
from labml_sd.unet.attention import CrossAttention
from labml_sd.unet.blocks import DownSample, ResBlock, UpSample
from labml_sd.unet.spatial_transformer import SpatialTransformer
from labml_sd.unet.time_embedding import sinusoids
from labml_sd.unet.unet import TimestepEmbedSequential

SMALL = UNetConfig(
    channels=8,
    channel_multipliers=(1, 2, 2),
    attention_levels=(0, 1),
    n_res_blocks=1,
    n_heads=2,
    d_cond=6,
    norm_groups=4,
)
T = torch.tensor([1, 900])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture(scope="module")
def unet(randomise):
    return randomise(UNet(SMALL).double())


@pytest.fixture(scope="module")
def v1():
    with torch.device("meta"):
        return UNet(UNetConfig())


def kinds(block: nn.Module) -> str:
    """One letter a layer: c convolution, R ResBlock, S SpatialTransformer, d down, u up."""
    letters = {
        nn.Conv2d: "c",
        ResBlock: "R",
        SpatialTransformer: "S",
        DownSample: "d",
        UpSample: "u",
    }
    return "".join(letters[type(layer)] for layer in block)


def test_at_v1_size_there_are_686_tensors_and_859_520_964_numbers(v1):
    state = v1.state_dict()
    assert (len(state), sum(v.numel() for v in state.values())) == (686, 859_520_964)


def test_at_v1_size_blocks_stand_as_in_the_checkpoint(v1):
    down = "c RS RS d RS RS d RS RS d R R".split()
    up = "R R Ru RS RS RSu RS RS RSu RS RS RS".split()
    assert [kinds(b) for b in v1.input_blocks] == down
    assert kinds(v1.middle_block) == "RSR"
    assert [kinds(b) for b in v1.output_blocks] == up


def test_at_v1_size_the_up_blocks_take_the_widths_of_the_checkpoint(v1):
    widths = [
        (b[0].in_layers[2].in_channels, b[0].in_layers[2].out_channels)
        for b in v1.output_blocks
    ]
    assert widths == [
        (2560, 1280), (2560, 1280), (2560, 1280),
        (2560, 1280), (2560, 1280), (1920, 1280),
        (1920, 640), (1280, 640), (960, 640),
        (960, 320), (640, 320), (640, 320),
    ]  # fmt: skip


def test_at_v1_size_heads_are_40_80_and_160_wide(v1):
    widths = {
        m.to_q.out_features // m.n_heads for m in v1.modules() if isinstance(m, CrossAttention)
    }
    assert widths == {40, 80, 160}


@pytest.mark.holds("fact: unet-norm")
def test_group_norms_use_1e_minus_6_in_transformers_and_1e_minus_5_elsewhere(unet):
    for name, module in unet.named_modules():
        if isinstance(module, nn.GroupNorm):
            in_transformer = isinstance(
                unet.get_submodule(name.rpartition(".")[0]), SpatialTransformer
            )
            assert module.eps == (1e-6 if in_transformer else 1e-5), name


def test_layer_norms_use_1e_minus_5(unet):
    assert {m.eps for m in unet.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}


def test_there_are_parameters_only_and_no_buffers(unet):
    assert not list(unet.buffers())


def test_a_sequence_gives_the_time_to_res_blocks_and_the_prompt_to_transformers(randomise):
    res, spatial = (
        ResBlock(4, 8, 6, norm_groups=2),
        SpatialTransformer(8, 5, n_heads=2, norm_groups=2),
    )
    layers = randomise(TimestepEmbedSequential(res, spatial, UpSample(8)).double())
    x, t_emb, cond = randn(2, 4, 3, 3), randn(2, 6, seed=1), randn(2, 7, 5, seed=2)
    expected = layers[2](layers[1](layers[0](x, t_emb), cond))
    assert torch.equal(layers(x, t_emb, cond), expected)


def test_each_up_block_takes_the_last_unused_skip(unet):
    x, cond = randn(1, 4, 8, 4), randn(1, 5, 6, seed=1)
    t_emb = unet.time_embed(sinusoids(T[:1], 8).double())
    kept, h = [], x
    for block in unet.input_blocks:
        h = block(h, t_emb, cond)
        kept.append(h)
    h = unet.middle_block(h, t_emb, cond)
    for block, skip in zip(unet.output_blocks, reversed(kept), strict=True):
        h = block(torch.cat([h, skip], dim=1), t_emb, cond)
    assert torch.equal(unet(x, T[:1], cond), unet.out(h))


@pytest.mark.holds("labml_sd.unet.unet.UNet")
def test_eps_depends_on_x_on_t_and_on_the_prompt(unet):
    x, cond = randn(2, 4, 4, 4), randn(2, 5, 6, seed=1)
    eps = unet(x, T, cond)
    assert eps.shape == x.shape
    for other in (unet(x + 0.1, T, cond), unet(x, T + 1, cond), unet(x, T, cond + 0.1)):
        assert (eps != other).all()


def test_images_of_a_batch_do_not_depend_on_one_another(unet):
    x, cond = randn(2, 4, 4, 4), randn(2, 5, 6, seed=1)
    alone = torch.cat([unet(x[i : i + 1], T[i : i + 1], cond[i : i + 1]) for i in (0, 1)])
    torch.testing.assert_close(unet(x, T, cond), alone, rtol=1e-10, atol=1e-12)


def test_the_time_may_be_whole_or_real_and_lie_between_two_steps(unet):
    x, cond = randn(1, 4, 4, 4), randn(1, 5, 6, seed=1)
    whole, real = unet(x, torch.tensor([7]), cond), unet(x, torch.tensor([7.0]), cond)
    between = unet(x, torch.tensor([7.5]), cond)
    assert torch.equal(whole, real)
    assert (between != whole).any()


@pytest.mark.parametrize("height, width", [(4, 4), (4, 12), (16, 8)])
def test_every_size_that_is_a_multiple_works(unet, height, width):
    x = randn(1, 4, height, width)
    assert unet(x, T[:1], randn(1, 5, 6)).shape == x.shape


@pytest.mark.parametrize("height, width", [(6, 4), (4, 5), (2, 2)])
def test_a_size_that_is_no_multiple_fails_where_the_paths_meet(unet, height, width):
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        unet(randn(1, 4, height, width), T[:1], randn(1, 5, 6))


def test_in_and_out_channels_are_those_of_the_configuration():
    unet = UNet(replace(SMALL, in_channels=9, out_channels=5))
    assert unet(torch.zeros(1, 9, 4, 4), T[:1], torch.zeros(1, 5, 6)).shape == (1, 5, 4, 4)


@pytest.mark.parametrize("kind", ["normal", "sliced"])
def test_every_kind_of_attention_gives_the_same_eps(randomise, kind):
    unet = randomise(UNet(SMALL).double())
    x, cond = randn(2, 4, 4, 4), randn(2, 5, 6, seed=1)
    flash = unet(x, T, cond)
    unet.use_attention(kind)
    assert {m.kind for m in unet.modules() if isinstance(m, CrossAttention)} == {kind}
    torch.testing.assert_close(unet(x, T, cond), flash, rtol=1e-10, atol=1e-12)


def test_the_kind_of_attention_of_one_network_is_not_anothers():
    first, second = UNet(SMALL), UNet(SMALL)
    first.use_attention("normal")
    assert {m.kind for m in second.modules() if isinstance(m, CrossAttention)} == {"flash"}


def test_nothing_in_the_input_is_changed(unet):
    given = [randn(2, 4, 4, 4), T.clone(), randn(2, 5, 6, seed=1)]
    before = [v.clone() for v in given]
    unet(*given)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


@pytest.mark.parametrize("levels", [(0, 1), (1,), ()])
@pytest.mark.parametrize("rows", [2, 6])
def test_several_prompts_may_share_the_latents(randomise, levels, rows):
    unet = randomise(UNet(replace(SMALL, attention_levels=levels)).double())
    x, cond = randn(2, 4, 4, 8), randn(rows, 5, 6, seed=1)
    every_row = unet(torch.cat([x] * (rows // 2)), torch.cat([T] * (rows // 2)), cond)
    torch.testing.assert_close(unet(x, T, cond), every_row, rtol=1e-12, atol=1e-13)


def test_one_time_holds_for_all_latents(unet):
    x, cond = randn(3, 4, 4, 4), randn(6, 5, 6, seed=1)
    of_each = unet(x, T[1:].expand(3), cond)
    torch.testing.assert_close(unet(x, T[1:], cond), of_each, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("levels, shared", [((0, 1), 1), ((1,), 3), ((), 6)])
def test_what_does_not_depend_on_the_prompt_is_computed_once(randomise, levels, shared):
    unet, batches = randomise(UNet(replace(SMALL, attention_levels=levels)).double()), []
    for block in unet.input_blocks:
        block.register_forward_hook(lambda module, args, out: batches.append(len(out)))
    unet(randn(2, 4, 4, 4), T, randn(4, 5, 6))
    assert batches == [2] * shared + [4] * (len(unet.input_blocks) - shared)


def test_prompts_that_are_not_a_multiple_of_the_latents_are_refused(unet):
    with pytest.raises(ValueError, match="3 rows are not a multiple of the batch size 2"):
        unet(randn(2, 4, 4, 4), T, randn(3, 5, 6))


def test_a_network_in_bfloat16_answers_in_bfloat16():
    unet = UNet(tiny().unet).to(torch.bfloat16)
    x, cond = (
        torch.zeros(1, 4, 4, 4, dtype=torch.bfloat16),
        torch.zeros(1, 5, 128, dtype=torch.bfloat16),
    )
    assert unet(x, torch.tensor([999.0]), cond).dtype == torch.bfloat16
