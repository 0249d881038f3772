import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, Guidance, Level, guide, rescale_std

LEVEL = Level(t=12.5, alpha_bar=0.9)
SIGMA = LEVEL.sigma  # 1/3


@pytest.mark.holds("fact: guidance")
def test_guidance_scale_zero_is_unconditional_one_is_plain_and_two_goes_beyond():
    uncond, cond = torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 3.0)
    assert [guide(uncond, cond, s).item() for s in (0, 1, 2, 7.5)] == [1.0, 3.0, 5.0, 16.0]


def test_a_scale_by_itself_guides_every_level_and_rescales_nothing(schedule):
    levels = [*(schedule.level(t) for t in range(1000)), CLEAN]
    assert {Guidance(7.5).scale_at(level) for level in levels} == {7.5}
    assert Guidance(7.5).rescale == 0


@pytest.mark.parametrize(
    ("low", "high", "holds"),
    [
        (0.3, 0.4, True),
        (0.0, SIGMA, True),
        (SIGMA, 9.0, True),
        (0.4, 9.0, False),
        (0.0, 0.3, False),
    ],
)
def test_the_interval_is_one_of_sigma_with_both_ends(low, high, holds):
    assert Guidance(3, low=low, high=high).scale_at(LEVEL) == (3 if holds else 1)


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_rescaling_brings_the_std_towards_that_of_cond_by_its_share(randn, share):
    eps, eps_cond = 3 * randn(), randn()
    std, std_cond, rescaled = (
        e.std(dim=(1, 2, 3)) for e in (eps, eps_cond, rescale_std(eps, eps_cond, share))
    )
    torch.testing.assert_close(
        rescaled, share * std_cond + (1 - share) * std, rtol=1e-12, atol=0
    )


def test_rescaling_changes_the_amplitude_and_not_the_direction(randn):
    eps = randn()
    ratio = rescale_std(eps, randn(), 0.7) / eps
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio), rtol=1e-12, atol=0)


@pytest.mark.holds("labml_sd.sampler.guidance.rescale_std")
def test_rescaling_is_its_equation_image_by_image(randn):
    eps, eps_cond = 3 * randn(), randn()
    rescaled = rescale_std(eps, eps_cond, 0.7)
    for e, c, r in zip(eps, eps_cond, rescaled, strict=True):
        ratio = ((c - c.mean()).square().sum() / (e - e.mean()).square().sum()).sqrt()
        torch.testing.assert_close(r, 0.7 * ratio * e + 0.3 * e, rtol=1e-12, atol=1e-12)


def test_each_image_is_rescaled_by_its_own_std(randn):
    eps, eps_cond = randn(), randn()
    alone = rescale_std(eps[1:], eps_cond[1:], 0.7)
    torch.testing.assert_close(rescale_std(eps, eps_cond, 0.7)[1:], alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("low", "high"), [(2, 1), (-0.1, 1), (float("nan"), 1), (0, float("nan"))]
)
def test_an_interval_in_reverse_or_below_0_is_refused(low, high):
    with pytest.raises(
        GenerationError, match=r"^guidance_interval is .* to .*; give two noise levels sigma"
    ):
        Guidance(3, low=low, high=high)


@pytest.mark.parametrize("rescale", [-0.1, 1.1, float("nan")])
def test_a_rescale_out_of_range_is_refused(rescale):
    with pytest.raises(GenerationError, match=r"^guidance_rescale is .*; give a number from 0"):
        Guidance(3, rescale=rescale)


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_scale_that_is_not_finite_is_refused(scale):
    with pytest.raises(GenerationError, match="give a finite number"):
        Guidance(scale)


def test_a_guided_prediction_is_rescaled_where_that_is_requested(randn):
    uncond, cond = randn(), randn()
    plain = guide(uncond, cond, 3)
    assert torch.equal(Guidance(3).combine(uncond, cond, LEVEL), plain)
    rescaled = Guidance(3, rescale=0.7).combine(uncond, cond, LEVEL)
    assert torch.equal(rescaled, rescale_std(plain, cond, 0.7))
