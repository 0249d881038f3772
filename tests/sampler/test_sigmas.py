from itertools import pairwise

import pytest

from labml_sd.sampler.sigmas import exponential_sigmas, karras_sigmas


def test_karras_is_even_in_the_seventh_root():
    roots = [sigma ** (1 / 7) for sigma in karras_sigmas(10, 14.6, 0.03)]
    strides = [b - a for a, b in pairwise(roots)]
    assert strides == pytest.approx([strides[0]] * 9, rel=1e-12)


@pytest.mark.holds("labml_sd.sampler.sigmas.karras_sigmas")
@pytest.mark.parametrize("rho", [3.0, 7.0])
def test_karras_is_equation_5(rho):
    ends = 14.6 ** (1 / rho), 0.03 ** (1 / rho)
    expected = tuple((ends[0] + i / 9 * (ends[1] - ends[0])) ** rho for i in range(10))
    assert karras_sigmas(10, 14.6, 0.03, rho) == pytest.approx(expected, rel=1e-12)


def test_karras_with_rho_one_is_even_in_sigma():
    assert karras_sigmas(3, 10.0, 2.0, rho=1.0) == pytest.approx((10, 6, 2), rel=1e-14)


def test_karras_with_a_large_rho_is_exponential():
    karras = karras_sigmas(10, 14.6, 0.03, rho=1e7)
    assert karras == pytest.approx(exponential_sigmas(10, 14.6, 0.03), rel=1e-5)


def test_exponential_falls_by_one_ratio():
    assert exponential_sigmas(4, 8.0, 1.0) == pytest.approx((8, 4, 2, 1), rel=1e-14)


@pytest.mark.parametrize("sigmas", [karras_sigmas, exponential_sigmas])
def test_the_ends_are_the_ends_and_a_single_sigma_is_the_highest(sigmas):
    several = sigmas(5, 14.6, 0.03)
    assert (several[0], several[-1]) == pytest.approx((14.6, 0.03), rel=1e-12)
    assert sigmas(1, 14.6, 0.03) == pytest.approx((14.6,), rel=1e-12)
