"""The accelerated U-Net against the plain one."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from marks import slow

from labml_sd.acceleration import accelerate
from labml_sd.acceleration.packed import Packed
from labml_sd.config import UNetConfig
from labml_sd.unet import UNet, UNetResiduals, record_attention
from labml_sd.unet.rows import repeat_rows

SMALL = UNetConfig(
    channels=8,
    channel_multipliers=(1, 2, 2),
    attention_levels=(0, 1),
    n_res_blocks=1,
    n_heads=2,
    d_cond=6,
    norm_groups=4,
)
CONFIGS = {
    "as SD": SMALL,
    "the prompt enters at the second level": replace(SMALL, attention_levels=(1,)),
    "the prompt enters in the middle only": replace(SMALL, attention_levels=()),
    "two transformer layers": replace(SMALL, n_transformer_layers=2),
    "two blocks a level, four levels": replace(
        SMALL, n_res_blocks=2, channel_multipliers=(1, 2, 4, 4)
    ),
    "one level": replace(SMALL, channel_multipliers=(1,), attention_levels=(0,)),
    "nine channels in, eight out": replace(SMALL, in_channels=9, out_channels=8),
}
TIMES = [999.0, 12.25, 0.0]


@pytest.fixture(scope="module")
def build(randomise):
    @cache
    def of(name, dtype=torch.float64):
        return randomise(UNet(CONFIGS[name]).to(dtype))

    return of


def fast(unet):
    """The accelerated tree, with nothing of the U-Net left plain."""
    network = accelerate(unet)
    assert all(
        isinstance(layer, Packed)
        for blocks in (network.input_blocks, [network.middle_block], network.output_blocks)
        for block in blocks
        for layer in block
    )
    return network


def plain(unet, x, t, cond):
    """Every row on its own through all of the U-Net."""
    n = len(cond)
    return unet(repeat_rows(x, n), torch.full((n,), t, dtype=torch.float32), cond)


def at(t):
    return torch.full((1,), t, dtype=torch.float32)


def given(randn, config, batch, rows_each, size=(8, 16)):
    x = randn(batch, config.in_channels, *size)
    return x, randn(batch * rows_each, 5, config.d_cond, seed=1)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("batch, rows_each", [(1, 2), (3, 2), *slow((1, 1), (3, 1))])
def test_it_is_the_plain_one_in_float64(build, randn, assert_close, name, batch, rows_each):
    unet = build(name)
    x, cond = given(randn, unet.config, batch, rows_each)
    network = fast(unet)
    for t in TIMES:
        assert_close(network(x, at(t), cond), plain(unet, x, t, cond), 1e-13)


@pytest.mark.parametrize("rows_each", [1, 2])
def test_a_time_for_each_latent(build, randn, assert_close, rows_each):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 3, rows_each)
    t = torch.tensor([3.0, 500.0, 997.5])
    assert_close(fast(unet)(x, t, cond), unet(x, t, cond), 1e-13)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_plain_one_where_numbers_are_small(build, randn, assert_close, name):
    unet = build(name)
    x, cond = given(randn, unet.config, 2, 2)
    x, cond = 0.01 * x, 0.01 * cond
    assert_close(fast(unet)(x, at(7.0), cond), plain(unet, x, 7.0, cond), 1e-13)


@pytest.mark.parametrize("size", [(4, 4), (4, 20), (16, 8)])
def test_it_is_the_plain_one_at_every_size(build, randn, assert_close, size):
    unet = build("as SD")
    network = fast(unet)
    for batch in (1, 2):
        x, cond = given(randn, unet.config, batch, 2, size)
        assert_close(network(x, at(7.0), cond), plain(unet, x, 7.0, cond), 1e-13)


@pytest.mark.usefixtures("everything_in_tiles")
@pytest.mark.parametrize("dtype, share", [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("size", [(8, 16), (12, 20)])
def test_it_is_the_plain_one_with_every_convolution_by_winograd(
    build, randn, assert_close, dtype, share, size
):
    unet = build("as SD", dtype)
    x, cond = (v.to(dtype) for v in given(randn, unet.config, 2, 2, size))
    network = fast(unet)
    assert_close(network(x, at(7.0), cond), plain(unet, x, 7.0, cond), share)
    assert network.out[2].conv.winograd is not None


@pytest.mark.slow
@pytest.mark.parametrize("rows_each", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_in_float32_it_is_the_plain_one_to_1e_minus_5(
    build, randn, assert_close, name, rows_each
):
    unet = build(name, torch.float32)
    x, cond = (v.float() for v in given(randn, unet.config, 2, rows_each))
    network = fast(unet)
    for t in TIMES:
        assert_close(network(x, at(t), cond), plain(unet, x, t, cond), 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_it_is_as_near_the_truth_as_the_plain_one(build, randn, dtype):
    unet = build("as SD", dtype)
    x, cond = (v.to(dtype) for v in given(randn, unet.config, 2, 2))
    found, usual = fast(unet)(x, at(500.0), cond), plain(unet, x, 500.0, cond)
    wide = UNet(unet.config).double().requires_grad_(False)
    wide.load_state_dict(unet.state_dict())
    truth = plain(wide, x.double(), 500.0, cond.double())
    errors = [float((eps.double() - truth).square().mean().sqrt()) for eps in (found, usual)]
    assert errors[0] <= 1.25 * errors[1]


def residuals_for(unet, randn, x, cond, rows):
    """Random ones of the right shapes, with as many rows as asked for."""
    shapes, t_emb = [], torch.zeros(1, 4 * unet.config.channels, dtype=x.dtype)
    for block in unet.input_blocks:
        x = block(x, t_emb, cond)
        shapes.append(x.shape[1:])
    middle = unet.middle_block(x, t_emb, cond).shape[1:]
    draw = iter(range(100))
    return UNetResiduals(
        features={i: randn(rows, *shapes[i], seed=next(draw)) for i in (1, 3)},
        skips=[randn(rows, *shape, seed=next(draw)) for shape in shapes],
        middle=randn(rows, *middle, seed=next(draw)),
    )


@pytest.mark.parametrize("rows", [2, 4])
@pytest.mark.parametrize("name", ["as SD", "the prompt enters at the second level"])
def test_residuals_are_added_alike(build, randn, assert_close, name, rows):
    unet = build(name)
    x, cond = given(randn, unet.config, 2, 2)
    residuals = residuals_for(unet, randn, x, cond, rows)
    given_before = [v.clone() for v in residuals.skips]
    wanted = unet(x, at(7.0), cond, residuals)
    assert_close(fast(unet)(x, at(7.0), cond, residuals), wanted, 1e-13)
    assert_close(fast(unet)(x, at(7.0), cond, residuals=residuals), wanted, 1e-13)
    assert not torch.allclose(wanted, unet(x, at(7.0), cond))
    assert all(torch.equal(*p) for p in zip(residuals.skips, given_before, strict=True))


def test_a_time_that_comes_again_gives_the_same_again(build, randn):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 1, 2)
    network = fast(unet)
    first = network(x, at(900.0), cond)
    network(x, at(100.0), cond)
    assert torch.equal(network(x, at(900.0), cond), first)


def test_several_prompts_in_turn_do_not_disturb_one_another(build, randn, assert_close):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 1, 2)
    network, prompts = fast(unet), [cond, cond.flip(0), cond[:1]]
    for t in (900.0, 100.0):
        for some in prompts:
            assert_close(network(x, at(t), some), plain(unet, x, t, some), 1e-13)


def test_nothing_that_is_given_is_changed(build, randn):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 2, 2)
    tensors = [x, cond, *unet.parameters()]
    before = [v.clone() for v in tensors]
    fast(unet)(x.contiguous(memory_format=torch.channels_last), at(5.0), cond)
    fast(unet)(x, at(5.0), cond)
    assert all(torch.equal(*pair) for pair in zip(tensors, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_a_hook_keeps_is_not_written_over(build, randn, dtype):
    """Hooks on containers leave all blocks packed; those on blocks, every other one."""
    unet = build("as SD", dtype)
    x, cond = (v.to(dtype) for v in given(randn, unet.config, 1, 2))
    network, kept = fast(unet), []

    def keep(module, args, out):
        kept.extend((v, v.clone()) for v in (*args, out) if isinstance(v, torch.Tensor))

    blocks = [layer for block in unet.input_blocks for layer in block]
    sequences = [*unet.input_blocks, unet.middle_block, *unet.output_blocks]
    for some in (sequences, blocks[::2], blocks[1::2]):
        handles = [module.register_forward_hook(keep) for module in some]
        network(x, at(5.0), cond)
        for handle in handles:
            handle.remove()
    assert len(kept) > len(sequences) + len(blocks)
    assert all(torch.equal(*pair) for pair in kept)


@pytest.mark.parametrize(
    "name, shared", [("as SD", 1), ("the prompt enters at the second level", 3)]
)
def test_what_does_not_depend_on_the_prompt_runs_once_for_both_halves(
    build, randn, name, shared
):
    unet, batches = build(name), []
    x, cond = given(randn, unet.config, 3, 2)
    handles = [
        block.register_forward_hook(lambda module, args, out: batches.append(len(out)))
        for block in unet.input_blocks
    ]
    for network in (unet, fast(unet)):
        batches.clear()
        network(x, at(5.0), cond)
        assert batches == [3] * shared + [6] * (len(batches) - shared)
    for handle in handles:
        handle.remove()


def test_attention_is_recorded_as_on_the_plain_one(build, randn):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 1, 2)
    network, recorded = fast(unet), []
    for some in (unet, network):
        with record_attention(unet) as maps:
            some(x, at(5.0), cond)
            some(x, at(4.0), cond)
        recorded.append(maps)
    keys = [[(m.call, m.block) for m in maps] for maps in recorded]
    assert keys[0] == keys[1] and len(keys[0]) > 0
    for wanted, found in zip(*recorded, strict=True):
        torch.testing.assert_close(found.probabilities, wanted.probabilities)
