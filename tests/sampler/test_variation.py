import math
from types import SimpleNamespace

import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import NoiseSource, Variation, slerp

SHAPE = (4, 6, 5)


@pytest.fixture
def pair(randn):
    return randn(*SHAPE), randn(*SHAPE)


def test_the_ends_are_the_two_noises_to_the_bit(pair):
    start, end = pair
    assert torch.equal(slerp(start, end, 0), start)
    assert torch.equal(slerp(start, end, 1), end)


def test_at_right_angles_the_weights_are_cosine_and_sine():
    start, end = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0], [1.0]]])
    between = slerp(start, end, 0.3)
    expected = torch.tensor([[[math.cos(0.15 * math.pi)], [math.sin(0.15 * math.pi)]]])
    torch.testing.assert_close(between, expected)


@pytest.mark.holds("labml_sd.sampler.variation.slerp")
def test_every_column_is_the_equation(pair):
    start, end = pair
    between = slerp(start, end, 0.3)
    for c in range(SHAPE[0]):
        for w in range(SHAPE[2]):
            a, b = start[c, :, w], end[c, :, w]
            omega = math.acos((a @ b / (a.norm() * b.norm())).item())
            expected = (math.sin(0.7 * omega) * a + math.sin(0.3 * omega) * b) / math.sin(omega)
            torch.testing.assert_close(between[c, :, w], expected, rtol=1e-11, atol=1e-11)


def test_every_column_keeps_to_the_arc_between_two_of_equal_length(pair):
    start, end = (noise / noise.norm(dim=1, keepdim=True) for noise in pair)
    between = slerp(start, end, 0.4)
    whole, part = ((a * b).sum(1).acos() for a, b in ((start, end), (start, between)))
    torch.testing.assert_close(between.norm(dim=1), torch.ones_like(whole), rtol=1e-10, atol=0)
    torch.testing.assert_close(part, 0.4 * whole, rtol=1e-8, atol=0)


def test_columns_do_not_mix(pair):
    start, end = pair
    whole = slerp(start, end, 0.4)
    torch.testing.assert_close(
        slerp(start[1:2, :, 3:4], end[1:2, :, 3:4], 0.4), whole[1:2, :, 3:4], rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_two_noises_on_one_line_are_joined_by_that_line(randn, factor):
    start = randn(*SHAPE)
    torch.testing.assert_close(
        slerp(start, factor * start, 0.25), (0.75 + 0.25 * factor) * start
    )


def test_halfway_noise_still_has_unit_variance():
    seeds = tuple(range(1, 9))
    source = NoiseSource([0] * 8, (4, 64, 64), variation=Variation(seeds, 0.5))
    assert source.draw().std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("noise", ["cpu", "cuda"])
def test_the_first_draw_moves_and_the_later_ones_are_the_seeds(noise):
    varied = NoiseSource([7], SHAPE, noise=noise, variation=Variation((8,), 0.3))
    plain, other = (NoiseSource([seed], SHAPE, noise=noise) for seed in (7, 8))
    expected = slerp(plain.draw()[0], other.draw()[0], 0.3)
    assert torch.equal(varied.draw()[0], expected)
    assert torch.equal(varied.draw(), plain.draw())


def test_a_varied_image_depends_on_its_two_seeds_alone():
    batch = NoiseSource([7, 3], SHAPE, variation=Variation((1, 2), 0.3))
    alone = NoiseSource([3], SHAPE, variation=Variation((2,), 0.3))
    assert torch.equal(batch.draw()[1:], alone.draw())


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan"), True, "0.5", None])
def test_a_strength_out_of_range_is_refused_in_one_line(strength):
    with pytest.raises(
        GenerationError, match=r"^variation_strength is .*; give a number from 0 .* to 1 .*$"
    ):
        Variation.__post_init__(SimpleNamespace(strength=strength))


def test_a_source_refuses_a_bad_variation_seed_by_its_name():
    with pytest.raises(GenerationError, match="variation_seed is -1"):
        NoiseSource([3], SHAPE, variation=Variation((-1,), 0.5))


def test_inputs_stay_as_they_were(pair):
    before = [tensor.clone() for tensor in pair]
    slerp(*pair, 0.3)
    assert all(torch.equal(*both) for both in zip(pair, before, strict=True))
