import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import (
    CLEAN,
    EulerA,
    ddpm_step,
    euler_a_step,
    euler_step,
    predict_x0,
    sample,
)


@pytest.mark.parametrize(("t", "s"), [(999, 949), (500, 499), (19, 0)])
def test_eta_zero_is_euler_to_the_bit(schedule, randn, t, s):
    x, eps, here, there = randn(), randn(), schedule.level(t), schedule.level(s)
    assert torch.equal(euler_a_step(x, eps, here, there, 0), euler_step(x, eps, here, there))


@pytest.mark.parametrize(("t", "s"), [(999, 949), (500, 499), (19, 0)])
def test_eta_one_is_ddpm_on_the_same_levels(schedule, randn, t, s):
    x, eps, noise, here, there = randn(), randn(), randn(), schedule.level(t), schedule.level(s)
    step = euler_a_step(x, eps, here, there, 1, noise)
    ddpm = ddpm_step(x, predict_x0(x, eps, here), here, there, noise)
    torch.testing.assert_close(step, ddpm, rtol=1e-10, atol=1e-10)


@pytest.mark.holds("labml_sd.sampler.solvers.euler_a.euler_a_step")
@pytest.mark.parametrize("eta", [0.6, 1])
def test_the_step_is_its_equation_in_sigma(schedule, randn, eta):
    here, there = schedule.level(800), schedule.level(600)
    x, eps, noise = randn(), randn(), randn()
    up = eta * there.sigma * (1 - there.sigma**2 / here.sigma**2) ** 0.5
    down = (there.sigma**2 - up**2) ** 0.5
    moved = x / here.alpha_bar**0.5 + (down - here.sigma) * eps + up * noise
    step = euler_a_step(x, eps, here, there, eta, noise)
    torch.testing.assert_close(step, there.alpha_bar**0.5 * moved, rtol=1e-12, atol=1e-12)


def test_the_step_into_clean_is_the_predicted_latent(schedule, randn):
    x, eps, here = randn(), randn(), schedule.level(40)
    step = euler_a_step(x, eps, here, CLEAN, 1, randn())
    torch.testing.assert_close(step, predict_x0(x, eps, here), rtol=1e-13, atol=1e-13)


@pytest.mark.holds("labml_sd.sampler.solvers.euler_a.euler_a_step")
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # in their tables
@pytest.mark.parametrize("n_steps", [1, 5, 20])
def test_a_run_is_diffusers_on_its_levels(gaussian, randn, peer, run_peer, levels_of, n_steps):
    x, noises, denoise = randn(), [randn() for _ in range(n_steps)], gaussian(0.5)
    scheduler = peer(
        "scheduling_euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", noises
    )
    scheduler.set_timesteps(n_steps)
    levels, stream = levels_of(scheduler.sigmas), iter(noises)
    ours = sample(EulerA(), denoise, x, levels, draw=lambda: next(stream), progress=False)
    torch.testing.assert_close(ours, run_peer(scheduler, denoise, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("given", [{"eta": 1.5}, {"s_noise": -1}])
def test_a_number_out_of_range_is_refused(given):
    with pytest.raises(GenerationError, match="give a number from 0"):
        EulerA(**given)
