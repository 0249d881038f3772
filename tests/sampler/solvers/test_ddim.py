import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, DDIM, ddim_step, ddpm_step, sample
from labml_sd.sampler.schedule import predict_x0
from labml_sd.sampler.solvers.ddim import ddim_sigma


@pytest.mark.parametrize(("t", "s"), [(999, 949), (500, 499), (19, 0)])
def test_eta_one_is_ddpm_on_the_same_levels(schedule, randn, t, s):
    here, there, x, eps, noise = schedule.level(t), schedule.level(s), randn(), randn(), randn()
    x0 = predict_x0(x, eps, here)
    ddim = ddim_step(x0, eps, there, ddim_sigma(here, there, 1), noise)
    ddpm = ddpm_step(x, x0, here, there, noise)
    torch.testing.assert_close(ddim, ddpm, rtol=1e-10, atol=1e-10)


@pytest.mark.holds(
    "labml_sd.sampler.solvers.ddim.ddim_sigma", "labml_sd.sampler.solvers.ddim.ddim_step"
)
@pytest.mark.parametrize("eta", [0, 0.3, 1])
def test_the_step_is_equation_12_with_the_sigma_of_equation_16(schedule, randn, eta):
    here, there = schedule.level(800), schedule.level(600)
    x, eps, noise = randn(), randn(), randn()
    a, b = here.alpha_bar, there.alpha_bar
    sigma = eta * ((1 - b) / (1 - a)) ** 0.5 * (1 - a / b) ** 0.5
    x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
    expected = b**0.5 * x0 + (1 - b - sigma**2) ** 0.5 * eps + sigma * noise
    assert ddim_sigma(here, there, eta) == pytest.approx(sigma, rel=1e-12)
    step = ddim_step(predict_x0(x, eps, here), eps, there, sigma, noise)
    torch.testing.assert_close(step, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_step_keeps_the_variance_of_the_level(schedule, eta):
    # The variances of the old and the fresh noise must add up to 1 - alpha_bar_s.
    here, there = schedule.level(800), schedule.level(600)
    zero, one = torch.zeros(1, 1, 1, 1).double(), torch.ones(1, 1, 1, 1).double()
    sigma = ddim_sigma(here, there, eta)
    old = ddim_step(zero, one, there, sigma, zero)
    new = ddim_step(zero, zero, there, sigma, one)
    assert (old**2 + new**2).item() == pytest.approx(1 - there.alpha_bar, rel=1e-12)


def test_eta_zero_draws_nothing(schedule, gaussian, randn, no_draw):
    sample(
        DDIM(),
        gaussian(2.0),
        randn(),
        DDIM().levels(schedule, 10),
        draw=no_draw,
        progress=False,
    )


def test_the_step_into_clean_is_the_predicted_latent_and_draws_nothing(
    schedule, gaussian, randn, one_step
):
    x, here, denoise = randn(), schedule.level(0), gaussian(2.0)
    step = one_step(DDIM(eta=1), denoise.eps, x, here, CLEAN)
    x0 = predict_x0(x, denoise.eps(x, here), here)
    torch.testing.assert_close(step, x0, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    "spacing", ["trailing", "uniform", "quadratic", "karras", "exponential"]
)
@pytest.mark.parametrize("n_steps", [1, 20, 30, 999, 1000])
def test_a_run_ends_at_time_zero_or_at_clean_when_zero_is_visited(schedule, spacing, n_steps):
    *visited, end = DDIM(spacing=spacing).levels(schedule, n_steps)
    assert end == (CLEAN if visited[-1].t == 0 else schedule.level(0))


def test_the_error_falls_with_the_first_power_of_the_step(error_of, data):
    assert error_of.slope(DDIM(), data) == pytest.approx(1, abs=0.25)


@pytest.mark.holds("fact: other-std")
@pytest.mark.parametrize("data_std", [0.5, 2.0])
def test_with_full_noise_the_samples_have_the_datas_std(schedule, gaussian, randn, data_std):
    sampler, x = DDIM(eta=1), randn(1, 4, 50, 50)
    levels = sampler.levels(schedule, 400)
    z = sample(
        sampler, gaussian(data_std), x, levels, draw=lambda: randn(1, 4, 50, 50), progress=False
    )
    assert z.std().item() == pytest.approx(data_std, rel=0.05)


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_an_eta_out_of_range_is_refused(eta):
    with pytest.raises(GenerationError, match="give a number from 0"):
        DDIM(eta=eta)


def test_inputs_stay_as_they_were(schedule, randn):
    given = [randn(), randn(), randn()]
    before = [tensor.clone() for tensor in given]
    ddim_step(given[0], given[1], schedule.level(5), 0.01, given[2])
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
