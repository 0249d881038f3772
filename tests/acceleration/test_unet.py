from dataclasses import replace
from functools import cache

import pytest
import torch

from labml_sd.acceleration.unet import FastUNet, fast_layer
from labml_sd.config import UNetConfig
from labml_sd.unet import UNet

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


def plain(unet, x, t, cond):
    """Every row by itself through all of the U-Net; the time as the sampling loop gives it."""
    n = len(cond)
    return unet(torch.cat([x] * (n // len(x))), torch.full((n,), t, dtype=torch.float32), cond)


def given(randn, config, batch, rows_each, size=(8, 16)):
    x = randn(batch, config.in_channels, *size)
    return x, randn(batch * rows_each, 5, config.d_cond, seed=1)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("batch, rows_each", [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_it_is_the_plain_one_in_float64(build, randn, assert_close, name, batch, rows_each):
    unet = build(name)
    x, cond = given(randn, unet.config, batch, rows_each)
    ask = FastUNet(unet).prompted(cond)
    for t in TIMES:
        assert_close(ask(x, t), plain(unet, x, t, cond), 1e-13)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_plain_one_where_numbers_are_small(build, randn, assert_close, name):
    unet = build(name)
    x, cond = given(randn, unet.config, 2, 2)
    x, cond = 0.01 * x, 0.01 * cond
    assert_close(FastUNet(unet).prompted(cond)(x, 7.0), plain(unet, x, 7.0, cond), 1e-13)


@pytest.mark.parametrize("size", [(4, 4), (4, 20), (16, 8)])
def test_it_is_the_plain_one_at_every_size(build, randn, assert_close, size):
    unet = build("as SD")
    ready = FastUNet(unet)
    for batch in (1, 2):
        x, cond = given(randn, unet.config, batch, 2, size)
        assert_close(ready.prompted(cond)(x, 7.0), plain(unet, x, 7.0, cond), 1e-13)


@pytest.mark.usefixtures("everything_in_tiles")
@pytest.mark.parametrize("dtype, share", [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("size", [(8, 16), (12, 20)])
def test_it_is_the_plain_one_with_every_convolution_in_tiles(
    build, randn, assert_close, dtype, share, size
):
    unet = build("as SD", dtype)
    x, cond = (v.to(dtype) for v in given(randn, unet.config, 2, 2, size))
    ready = FastUNet(unet)
    assert_close(ready.prompted(cond)(x, 7.0), plain(unet, x, 7.0, cond), share)
    assert ready.conv_out.in_tiles is not None


@pytest.mark.parametrize("rows_each", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_in_float32_it_is_the_plain_one_to_1e_minus_5(
    build, randn, assert_close, name, rows_each
):
    unet = build(name, torch.float32)
    x, cond = (v.float() for v in given(randn, unet.config, 2, rows_each))
    ask = FastUNet(unet).prompted(cond)
    for t in TIMES:
        assert_close(ask(x, t), plain(unet, x, t, cond), 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_narrow_types_it_is_as_near_the_truth_as_the_plain_one(build, randn, dtype):
    unet = build("as SD", dtype)
    x, cond = (v.to(dtype) for v in given(randn, unet.config, 2, 2))
    found, usual = FastUNet(unet).prompted(cond)(x, 500.0), plain(unet, x, 500.0, cond)
    wide = UNet(unet.config).double().requires_grad_(False)
    wide.load_state_dict(unet.state_dict())
    truth = plain(wide, x.double(), 500.0, cond.double())
    errors = [float((eps.double() - truth).square().mean().sqrt()) for eps in (found, usual)]
    assert errors[0] <= 1.25 * errors[1]


def test_a_time_that_comes_again_gives_the_same_again(build, randn):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 1, 2)
    ask = FastUNet(unet).prompted(cond)
    first = ask(x, 900.0)
    ask(x, 100.0)
    assert torch.equal(ask(x, 900.0), first)


def test_runs_with_other_prompts_do_not_disturb_one_another(build, randn, assert_close):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 1, 2)
    ready = FastUNet(unet)
    here, there = ready.prompted(cond), ready.prompted(cond.flip(0))
    for t in (900.0, 100.0):
        assert_close(here(x, t), plain(unet, x, t, cond), 1e-13)
        assert_close(there(x, t), plain(unet, x, t, cond.flip(0)), 1e-13)


def test_nothing_that_is_given_is_changed(build, randn):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 2, 2)
    tensors = [x, cond, *unet.parameters()]
    before = [v.clone() for v in tensors]
    FastUNet(unet).prompted(cond)(x.contiguous(memory_format=torch.channels_last), 5.0)
    FastUNet(unet).prompted(cond)(x, 5.0)
    assert all(torch.equal(*pair) for pair in zip(tensors, before, strict=True))


@pytest.mark.parametrize(
    "name, shared", [("as SD", 2), ("the prompt enters at the second level", 4)]
)
def test_what_does_not_see_the_prompt_runs_once_for_both_halves(
    build, randn, monkeypatch, name, shared
):
    unet = build(name)
    x, cond = given(randn, unet.config, 3, 2)
    ready, batches = FastUNet(unet), []
    for block in ready.down:
        for place, layer in enumerate(block):
            block[place] = recording(layer, batches)
    ready.layers = [
        layer for block in [*ready.down, ready.middle, *ready.up] for layer in block
    ]
    ready.prompted(cond)(x, 5.0)
    assert batches == [3] * (shared + 1) + [6] * (len(batches) - shared - 1)


def recording(layer, batches):
    """The layer, with the batch that every call gets put down."""

    class Recording(type(layer)):
        def __call__(self, x, *given):
            batches.append(len(x))
            return super().__call__(x, *given)

    layer.__class__ = Recording
    return layer


def test_keys_and_values_are_computed_once_a_run_and_the_time_once_a_level(build, randn):
    unet = build("as SD")
    x, cond = given(randn, unet.config, 1, 2)
    counts = {}
    watched = {
        name: unet.get_submodule(name)
        for name in ("time_embed", "middle_block.1.transformer_blocks.0.attn2.to_k")
    }
    handles = [
        module.register_forward_hook(
            lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1})
        )
        for name, module in watched.items()
    ]
    ask = FastUNet(unet).prompted(cond)
    for t in (900.0, 900.0, 400.0):
        ask(x, t)
    for handle in handles:
        handle.remove()
    assert list(counts.values()) == [1, 2] and list(counts) == [*watched][::-1]


def test_a_layer_it_does_not_know_is_refused():
    with pytest.raises(TypeError, match="no fast layer for a ReLU"):
        fast_layer(torch.nn.ReLU())
