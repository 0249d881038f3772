import pytest
import torch

from labml_sd.sampler import CLEAN, Level, add_noise, from_eps, from_v

LEVELS = [Level(t=999.0, alpha_bar=0.005), Level(t=500.0, alpha_bar=0.3), Level(20.0, 0.98)]


@pytest.mark.holds("fact: v-prediction", "labml_sd.sampler.prediction.from_v")
@pytest.mark.parametrize("level", [*LEVELS, CLEAN, Level(t=999.0, alpha_bar=0.0)])
def test_from_v_come_the_noise_and_the_latent_that_it_was_made_of(randn, level):
    z, noise, a = randn(), randn(), level.alpha_bar
    v = a**0.5 * noise - (1 - a) ** 0.5 * z
    found = from_v(add_noise(z, noise, level), v, level)
    torch.testing.assert_close(found.eps, noise, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.x0, z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_from_eps_comes_the_latent_that_was_noised(randn, level):
    z, noise = randn(), randn()
    found = from_eps(add_noise(z, noise, level), noise, level)
    assert torch.equal(found.eps, noise)
    torch.testing.assert_close(found.x0, z, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("level", LEVELS)
def test_both_agree_on_the_same_network(randn, level):
    # v is linear in eps: a network that predicts one predicts the other.
    x, eps, a = randn(), randn(), level.alpha_bar
    by_eps = from_eps(x, eps, level)
    by_v = from_v(x, (eps - (1 - a) ** 0.5 * x) / a**0.5, level)
    torch.testing.assert_close(by_v.eps, eps, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(by_v.x0, by_eps.x0, rtol=1e-11, atol=1e-11)
