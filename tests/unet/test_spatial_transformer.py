import pytest
import torch
from torch import Tensor, nn

from labml_sd.unet.spatial_transformer import BasicTransformerBlock, SpatialTransformer


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture
def transformer(randomise):
    return randomise(SpatialTransformer(8, 6, n_heads=2, n_layers=2, norm_groups=4).double())


def test_the_group_norm_uses_eps_1e_minus_6_and_the_layer_norms_1e_minus_5(transformer):
    assert transformer.norm.eps == 1e-6
    layer_norms = [m for m in transformer.modules() if isinstance(m, nn.LayerNorm)]
    assert [m.eps for m in layer_norms] == [1e-5] * 6


@pytest.mark.holds("labml_sd.unet.spatial_transformer.BasicTransformerBlock")
def test_a_block_computes_its_three_sums(randomise):
    block = randomise(BasicTransformerBlock(8, 6, 2).double())
    x, cond = 0.1 * randn(2, 5, 8), randn(2, 7, 6, seed=1)
    a = x + block.attn1(block.norm1(x))
    b = a + block.attn2(block.norm2(a), cond)
    torch.testing.assert_close(block(x, cond), b + block.ff(block.norm3(b)))


@pytest.mark.holds("labml_sd.unet.spatial_transformer.SpatialTransformer")
def test_the_transformer_computes_its_equation_with_positions_read_row_by_row(transformer):
    x, cond = randn(2, 8, 3, 5), randn(2, 7, 6, seed=1)
    entered = transformer.proj_in(transformer.norm(x))
    tokens = torch.stack(
        [entered[:, :, row, column] for row in range(3) for column in range(5)], dim=1
    )
    for block in transformer.transformer_blocks:
        tokens = block(tokens, cond)
    left = torch.stack([tokens[:, 5 * row : 5 * row + 5] for row in range(3)], dim=1).permute(
        0, 3, 1, 2
    )
    torch.testing.assert_close(transformer(x, cond), x + transformer.proj_out(left))


def test_the_projections_are_1x1_convolutions_as_in_v1(transformer):
    assert transformer.proj_in.weight.shape == transformer.proj_out.weight.shape == (8, 8, 1, 1)


@pytest.mark.parametrize("rows", [2, 4])
def test_the_latents_are_repeated_for_each_prompt(transformer, rows):
    x, cond = randn(2, 8, 3, 5), randn(rows, 7, 6, seed=1)
    each = transformer(torch.cat([x] * (rows // 2)), cond)
    torch.testing.assert_close(transformer(x, cond), each, rtol=1e-12, atol=1e-13)


def test_the_prompt_enters_through_attn2_alone(transformer):
    x, cond = randn(1, 8, 3, 5), randn(1, 7, 6, seed=1)
    for block in transformer.transformer_blocks:
        nn.init.zeros_(block.attn2.to_v.weight)
    assert torch.equal(transformer(x, cond), transformer(x, cond + 1))


def test_the_prompt_reaches_every_position(transformer):
    x, cond = randn(1, 8, 3, 5), randn(1, 7, 6, seed=1)
    changed = cond.clone()
    changed[0, 3] += 1
    assert (transformer(x, cond) != transformer(x, changed)).all()


def test_a_prompt_may_have_any_number_of_tokens(transformer):
    for n in (1, 77, 154):
        assert transformer(randn(1, 8, 2, 2), randn(1, n, 6)).shape == (1, 8, 2, 2)
