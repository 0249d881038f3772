import pytest
import torch
from torch import Tensor

from labml_sd.config import UNetConfig
from labml_sd.unet import NO_RESIDUALS, UNet, UNetResiduals
from labml_sd.unet.residuals import add_residual
from labml_sd.unet.time_embedding import sinusoids

SMALL = UNetConfig(
    channels=8,
    channel_multipliers=(1, 2, 2),
    attention_levels=(1,),
    n_res_blocks=1,
    n_heads=2,
    d_cond=6,
    norm_groups=4,
)
T = torch.tensor([300.0])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture(scope="module")
def unet(randomise):
    return randomise(UNet(SMALL).double())


X, COND = randn(2, 4, 8, 4), randn(4, 5, 6, seed=1)


@pytest.fixture(scope="module")
def shapes(unet):
    """Of the skip connections, and of the middle, without the batch."""
    t_emb, x, found = torch.zeros(1, 32, dtype=torch.float64), X, []
    for block in unet.input_blocks:
        x = block(x, t_emb, COND)
        found.append(tuple(x.shape[1:]))
    return found


def test_the_smaller_batch_is_repeated():
    x, residual = randn(2, 1, 1, 1), randn(4, 1, 1, 1, seed=1)
    wanted = torch.cat([x, x]) + residual
    assert torch.equal(add_residual(x, residual), wanted)
    assert torch.equal(add_residual(residual, x), wanted)
    assert torch.equal(add_residual(x, x), 2 * x)


def test_without_residuals_nothing_is_added(unet):
    empty = UNetResiduals(features={}, skips=[], middle=None)
    assert torch.equal(unet(X, T, COND, empty), unet(X, T, COND))
    assert torch.equal(unet(X, T, COND, NO_RESIDUALS), unet(X, T, COND))


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_each_residual_is_added_where_it_belongs(unet, shapes, rows):
    skips = [randn(rows, *shape, seed=10 + i) for i, shape in enumerate(shapes)]
    features = {i: randn(rows, *shapes[i], seed=30 + i) for i in (0, 2, 5)}
    middle = randn(rows, *shapes[-1], seed=50)
    found = unet(X, T, COND, UNetResiduals(features=features, skips=skips, middle=middle))

    # the same by hand, with 4 rows throughout
    def four(residual):
        return torch.cat([residual] * (4 // rows))

    x, t_emb, kept = torch.cat([X, X]), unet.time_embed(sinusoids(T, 8).double()), []
    for i, block in enumerate(unet.input_blocks):
        x = block(x, t_emb, COND)
        if i in features:
            x = x + four(features[i])
        kept.append(x + four(skips[i]))
    x = unet.middle_block(x, t_emb, COND) + four(middle)
    for block, skip in zip(unet.output_blocks, reversed(kept), strict=True):
        x = block(torch.cat([x, skip], dim=1), t_emb, COND)
    torch.testing.assert_close(found, unet.out(x), rtol=1e-12, atol=1e-13)


def test_a_residual_for_one_half_of_guidance_leaves_the_other(unet, shapes):
    """As in ControlNet's guess mode: zeros for the negative prompts."""
    skips = [randn(4, *shape, seed=i) for i, shape in enumerate(shapes)]
    for skip in skips:
        skip[:2] = 0
    found = unet(X, T, COND, UNetResiduals(features={}, skips=skips, middle=None))
    plain = unet(X, T, COND)
    torch.testing.assert_close(found[:2], plain[:2], rtol=1e-12, atol=1e-13)
    assert (found[2:] != plain[2:]).any()


def test_there_must_be_one_residual_for_each_skip(unet, shapes):
    skips = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes[:-1]]
    with pytest.raises(ValueError, match="argument"):
        unet(X, T, COND, UNetResiduals(features={}, skips=skips, middle=None))


def test_the_residuals_are_not_changed(unet, shapes):
    skips = [randn(2, *shape, seed=i) for i, shape in enumerate(shapes)]
    before = [skip.clone() for skip in skips]
    unet(X, T, COND, UNetResiduals(features={0: skips[0]}, skips=skips, middle=skips[-1]))
    assert all(torch.equal(*pair) for pair in zip(skips, before, strict=True))
