import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labml_sd.unet.blocks import DownSample, ResBlock, UpSample, norm


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def test_the_norm_uses_eps_1e_minus_5():
    assert norm(8, 4).eps == 1e-5


@pytest.mark.holds("labml_sd.unet.blocks.ResBlock")
def test_res_block_computes_its_two_equations(randomise):
    block = randomise(ResBlock(4, 8, 12, norm_groups=2).double())
    x, t_emb = 0.1 * randn(2, 4, 5, 3), randn(2, 12, seed=1)
    norm_1, _, conv_1 = block.in_layers
    norm_2, _, _, conv_2 = block.out_layers
    w = block.emb_layers[1]
    h = conv_1(F.silu(norm_1(x))) + w(F.silu(t_emb))[:, :, None, None]
    expected = block.skip_connection(x) + conv_2(F.silu(norm_2(h)))
    torch.testing.assert_close(block(x, t_emb), expected)


def test_res_block_uses_the_time_of_each_image_alone(randomise):
    block = randomise(ResBlock(4, 4, 6, norm_groups=2).double())
    x, t_emb = randn(2, 4, 3, 3), randn(2, 6, seed=1)
    other = torch.stack([t_emb[0], t_emb[1] + 1])
    before, after = block(x, t_emb), block(x, other)
    assert torch.equal(before[0], after[0])
    assert (before[1] != after[1]).all()


def test_res_block_of_one_width_has_no_weights_in_the_skip_connection():
    assert not list(ResBlock(8, 8, 4, norm_groups=2).skip_connection.parameters())


def test_res_block_that_changes_the_width_has_a_1x1_convolution_in_the_skip_connection():
    assert ResBlock(4, 8, 4, norm_groups=2).skip_connection.weight.shape == (8, 4, 1, 1)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_res_block_repeats_the_times_for_a_batch_of_several_prompts(randomise, times):
    block = randomise(ResBlock(4, 8, 6, norm_groups=2).double())
    x, t_emb = randn(4, 4, 3, 3), randn(times, 6, seed=1)
    each = block(x, torch.cat([t_emb] * (4 // times)))
    torch.testing.assert_close(block(x, t_emb), each, rtol=1e-13, atol=1e-13)


def test_dropout_never_drops_even_in_training(randomise):
    block = randomise(ResBlock(4, 4, 6, norm_groups=2).double())
    x, t_emb = randn(1, 4, 3, 3), randn(1, 6)
    assert torch.equal(block.train()(x, t_emb), block.eval()(x, t_emb))


@pytest.mark.holds("fact: unet-pad")
def test_down_sample_pads_all_four_sides():
    layer = DownSample(1).double()
    nn.init.ones_(layer.op.weight)
    x = torch.zeros(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    layer(x).sum().backward()
    # The windows start at -1, 1 and 3; the autoencoder's start at 0, 2 and 4.
    once, twice = [1.0, 2.0, 1.0, 2.0, 1.0, 1.0], [2.0, 4.0, 2.0, 4.0, 2.0, 2.0]
    assert x.grad is not None
    assert x.grad[0, 0].tolist() == [once, twice, once, twice, once, once]


def test_down_sample_halves_even_sides():
    assert DownSample(2)(torch.zeros(1, 2, 6, 4)).shape == (1, 2, 3, 2)


def test_up_sample_repeats_each_position_and_convolves(randomise):
    layer = randomise(UpSample(2).double())
    x = randn(1, 2, 3, 4)
    repeated = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(
        layer(x), F.conv2d(repeated, layer.conv.weight, layer.conv.bias, padding=1)
    )
