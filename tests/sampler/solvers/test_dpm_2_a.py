import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import DPM2, DPM2A, dpm_2_a_step, euler_a_step, sample
from labml_sd.sampler.solvers.ancestral import with_ancestral_between


@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_eta_zero_is_dpm_2(schedule, gaussian, randn, no_draw, n_steps):
    x, results = randn(), []
    for sampler in (DPM2A(eta=0), DPM2()):
        levels = sampler.levels(schedule, n_steps)
        results.append(sample(sampler, gaussian(0.5), x, levels, draw=no_draw, progress=False))
    torch.testing.assert_close(*results, rtol=1e-13, atol=1e-13)


def test_one_step_of_eta_zero_is_dpm_2_to_the_bit(schedule, gaussian, randn, one_step):
    here, there = DPM2().levels(schedule, 9)[2:4]
    x = randn()
    ours, theirs = (
        one_step(s, gaussian(0.5).eps, x, here, there) for s in (DPM2A(eta=0), DPM2())
    )
    assert torch.equal(ours, theirs)


def test_where_the_slope_does_not_change_it_is_euler_ancestral(schedule, randn):
    x, eps, noise = randn(), randn(), randn()
    here, there = schedule.level(700), schedule.level(600)
    step = dpm_2_a_step(x, eps, here, there, 1, noise)
    assert torch.equal(step, euler_a_step(x, eps, here, there, 1, noise))


@pytest.mark.holds("labml_sd.sampler.solvers.dpm_2_a.dpm_2_a_step")
@pytest.mark.parametrize("eta", [0.6, 1])
def test_a_step_is_its_equation_along_the_slope_at_the_middle(
    schedule, gaussian, randn, one_step, eta
):
    sampler, denoise, x, noise = DPM2A(eta=eta), gaussian(2.0), randn(), randn()
    here, there = sampler.levels(schedule, 9)[2:4]
    up = eta * there.sigma * (1 - there.sigma**2 / here.sigma**2) ** 0.5
    down = (there.sigma**2 - up**2) ** 0.5
    start, middle = x / here.alpha_bar**0.5, schedule.at_sigma((here.sigma * down) ** 0.5)
    halfway = start + (middle.sigma - here.sigma) * denoise.eps(x, here)
    x_middle = middle.alpha_bar**0.5 * halfway
    moved = start + (down - here.sigma) * denoise.eps(x_middle, middle) + up * noise
    step = one_step(sampler, denoise.eps, x, here, there, lambda: noise)
    torch.testing.assert_close(step, there.alpha_bar**0.5 * moved, rtol=1e-11, atol=1e-11)


@pytest.mark.holds("labml_sd.sampler.solvers.dpm_2_a.dpm_2_a_step")
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # in their tables
@pytest.mark.parametrize("n_steps", [2, 5, 20])
def test_a_run_is_diffusers_on_its_levels(
    schedule, gaussian, randn, peer, run_peer, levels_of, n_steps
):
    x, noises, denoise = randn(), [randn() for _ in range(n_steps)], gaussian(0.5)
    scheduler = peer(
        "scheduling_k_dpm_2_ancestral_discrete", "KDPM2AncestralDiscreteScheduler", noises
    )
    scheduler.set_timesteps(n_steps)
    # Their list holds each sigma twice but the first and the last.
    plain, stream = levels_of([*scheduler.sigmas[:1], *scheduler.sigmas[1:-1:2]]), iter(noises)
    levels = with_ancestral_between(schedule, plain, 1)
    assert len(levels) == n_steps + 1
    ours = sample(DPM2A(), denoise, x, levels, draw=lambda: next(stream), progress=False)
    torch.testing.assert_close(ours, run_peer(scheduler, denoise, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("given", [{"eta": 1.5}, {"s_noise": -1}])
def test_a_number_out_of_range_is_refused(given):
    with pytest.raises(GenerationError, match="give a number from 0"):
        DPM2A(**given)
