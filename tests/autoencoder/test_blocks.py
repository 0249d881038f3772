import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.autoencoder.blocks import (
    AttnBlock,
    DownSample,
    MidBlock,
    ResnetBlock,
    UpSample,
    norm,
)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def impulses_seen(layer: nn.Module, side: int) -> Tensor:
    """How often each position is used by a layer whose 3x3 kernel is all ones."""
    x = torch.zeros(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    layer.double()(x).sum().backward()
    assert x.grad is not None
    return x.grad[0, 0]


def test_the_norm_uses_eps_1e_minus_6():
    assert norm(8, 4).eps == 1e-6


@pytest.mark.holds("labml_sd.autoencoder.blocks.ResnetBlock")
def test_resnet_block_computes_its_equation(randomise):
    block = randomise(ResnetBlock(4, 8, norm_groups=2).double())
    x = 0.1 * randn(2, 4, 5, 3)
    h = block.conv1(F.silu(block.norm1(x)))
    expected = block.nin_shortcut(x) + block.conv2(F.silu(block.norm2(h)))
    torch.testing.assert_close(block(x), expected)


def test_the_skip_connection_of_a_resnet_block_of_one_width_has_no_weights():
    assert not list(ResnetBlock(8, 8, norm_groups=2).nin_shortcut.parameters())


def test_the_skip_connection_of_a_resnet_block_that_changes_the_width_is_a_1x1_convolution():
    assert ResnetBlock(4, 8, norm_groups=2).nin_shortcut.weight.shape == (8, 4, 1, 1)


def test_resnet_block_whose_last_convolution_is_zero_is_the_identity(randomise):
    block = randomise(ResnetBlock(8, 8, norm_groups=2).double())
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    x = randn(2, 8, 5, 3)
    assert torch.equal(block(x), x)


@pytest.mark.holds("labml_sd.autoencoder.blocks.AttnBlock")
def test_attn_block_computes_its_equation(randomise):
    block = randomise(AttnBlock(8, norm_groups=2).double())
    x = randn(2, 8, 5, 3)
    q, k, v = (
        layer(block.norm(x)).flatten(2) for layer in (block.q, block.k, block.v)
    )  # [b c n]
    weights = (q.transpose(1, 2) @ k / 8**0.5).softmax(dim=-1)  # [b queries keys]
    mixed = v @ weights.transpose(1, 2)
    w_o = block.proj_out.weight[:, :, 0, 0]
    expected = x + (w_o @ mixed + block.proj_out.bias[:, None]).reshape(x.shape)
    torch.testing.assert_close(block(x), expected)


def test_attn_block_is_equivariant_to_moving_the_positions(randomise):
    block = randomise(AttnBlock(8, norm_groups=2).double())
    x = randn(1, 8, 4, 4)
    torch.testing.assert_close(block(x.flip(3)), block(x).flip(3))
    torch.testing.assert_close(block(x.transpose(2, 3)), block(x).transpose(2, 3))


def test_every_output_of_the_attn_block_depends_on_every_position(randomise):
    block = randomise(AttnBlock(8, norm_groups=2).double())
    x = randn(1, 8, 4, 4).requires_grad_()
    block(x)[0, :, 0, 0].sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.holds("fact: vae-pad")
def test_down_sample_pads_right_and_bottom_only():
    # The windows start at 0, 2 and 4. Padded above and left, they would start at -1, 1 and 3.
    once, twice = [1.0, 1.0, 2.0, 1.0, 2.0, 1.0], [2.0, 2.0, 4.0, 2.0, 4.0, 2.0]
    assert impulses_seen(DownSample(1), 6).tolist() == [once, once, twice, once, twice, once]


def test_down_sample_output_0_sees_inputs_0_to_2():
    layer = DownSample(1).double()
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    for row, seen in enumerate([True, True, True, False, False, False]):
        x = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
        x[0, 0, row, 0] = 1
        assert (layer(x)[0, 0, 0, 0].item() == 2.0) is seen  # the bias, and the impulse


def test_down_sample_halves_even_sides():
    assert DownSample(2)(torch.zeros(1, 2, 6, 4)).shape == (1, 2, 3, 2)


def test_up_sample_repeats_each_position_and_convolves(randomise):
    layer = randomise(UpSample(2).double())
    x = randn(1, 2, 3, 4)
    repeated = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(
        layer(x), F.conv2d(repeated, layer.conv.weight, layer.conv.bias, padding=1)
    )


def test_mid_block_is_resnet_attention_resnet(randomise):
    block = randomise(MidBlock(8, norm_groups=2).double())
    x = randn(1, 8, 4, 3)
    assert torch.equal(block(x), block.block_2(block.attn_1(block.block_1(x))))
