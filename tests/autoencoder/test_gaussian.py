import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from labml_sd.autoencoder import GaussianPosterior


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moments(scale: float = 1.0) -> Tensor:
    generator = seeded(0)
    return scale * torch.randn(2, 8, 3, 5, dtype=torch.float64, generator=generator)


def test_the_first_half_of_the_channels_is_the_mean_and_the_second_the_log_variance():
    both = moments()
    posterior = GaussianPosterior(both)
    assert torch.equal(posterior.mean, both[:, :4])
    assert torch.equal(posterior.log_var, both[:, 4:])


@pytest.mark.holds("fact: log-variance")
def test_the_log_variance_is_clamped_to_minus_30_and_20():
    log_var = torch.tensor([-31.0, -30.0, -1.0, 19.0, 20.0, 1e9]).reshape(1, 1, 1, 6)
    posterior = GaussianPosterior(torch.cat([torch.zeros_like(log_var), log_var], dim=1))
    assert posterior.log_var.flatten().tolist() == [-30, -30, -1, 19, 20, 20]


def test_the_mean_is_not_clamped():
    assert GaussianPosterior(moments(1e3)).mean.abs().max() > 100


def test_std_squared_is_the_variance():
    posterior = GaussianPosterior(moments())
    torch.testing.assert_close(posterior.std**2, posterior.log_var.exp(), rtol=1e-14, atol=0)


@pytest.mark.holds("labml_sd.autoencoder.gaussian.GaussianPosterior")
def test_a_sample_is_the_mean_plus_std_times_the_noise_of_the_generator():
    posterior = GaussianPosterior(moments())
    noise = torch.randn(2, 4, 3, 5, generator=seeded(7))
    sample = posterior.sample(seeded(7))
    assert torch.equal(sample, posterior.mean + posterior.std * noise.double())


def test_a_sample_has_the_dtype_of_the_moments():
    assert GaussianPosterior(moments().half()).sample(seeded(0)).dtype == torch.float16


def test_a_seed_gives_the_same_noise_in_every_dtype():
    flat = torch.zeros(1, 8, 2, 2)
    draws = [GaussianPosterior(flat.to(d)).sample(seeded(3)) for d in
             (torch.float32, torch.float64)]  # fmt: skip
    assert torch.equal(draws[0].double(), draws[1])


@pytest.mark.holds("labml_sd.autoencoder.gaussian.GaussianPosterior")
def test_samples_have_the_mean_and_the_std_of_the_posterior():
    both = torch.cat(
        [torch.full((1, 1, 200, 200), 3.0), torch.full((1, 1, 200, 200), 1.5).log() * 2], dim=1
    )
    sample = GaussianPosterior(both).sample(seeded(0))
    assert sample.mean().item() == pytest.approx(3.0, abs=0.03)  # 4 standard errors
    assert sample.std().item() == pytest.approx(1.5, abs=0.03)


def test_a_sample_has_gradients_with_respect_to_mean_and_std():
    both = moments().requires_grad_()
    GaussianPosterior(both).sample(seeded(0)).sum().backward()
    assert both.grad is not None
    assert (both.grad != 0).all()


def test_the_mode_is_the_mean():
    posterior = GaussianPosterior(moments())
    assert torch.equal(posterior.mode(), posterior.mean)


@pytest.mark.holds("labml_sd.autoencoder.gaussian.GaussianPosterior.kl")
def test_kl_equals_the_divergence_from_the_standard_normal_that_torch_computes():
    posterior = GaussianPosterior(moments())
    normal = Normal(posterior.mean, posterior.std)
    standard = Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean))
    expected = kl_divergence(normal, standard).sum(dim=(1, 2, 3))
    torch.testing.assert_close(posterior.kl(), expected)


def test_kl_is_zero_at_the_standard_normal_and_nowhere_else():
    assert GaussianPosterior(torch.zeros(1, 8, 2, 2)).kl().item() == 0
    for channel in (0, 4):
        other = torch.zeros(1, 8, 2, 2)
        other[:, channel] = 0.1
        assert GaussianPosterior(other).kl().item() > 0
