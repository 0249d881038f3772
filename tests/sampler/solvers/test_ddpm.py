import math

import pytest
import torch

from labml_sd.sampler import CLEAN, DDPM, ddpm_step, sample


@pytest.mark.holds("labml_sd.sampler.solvers.ddpm.ddpm_step")
@pytest.mark.parametrize("t", [1, 500, 999])
def test_one_step_down_is_the_textbook_posterior(schedule, randn, t):
    x, eps, noise = randn(), randn(), randn()
    beta, alpha_bar, before = schedule.beta[t], schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
    x0 = (x - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()
    mean = (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * x) / (1 - alpha_bar)
    std = (beta * (1 - before) / (1 - alpha_bar)).sqrt()
    step = ddpm_step(x, x0, schedule.level(t), schedule.level(t - 1), noise)
    torch.testing.assert_close(step, mean + std * noise, rtol=1e-10, atol=1e-10)


@pytest.mark.holds("labml_sd.sampler.solvers.ddpm.ddpm_step")
def test_a_long_step_is_bayes_rule_between_the_two_levels(schedule, randn):
    # q(x_s | x_t, x0) is N(x_s; sqrt(ab_s) x0, 1-ab_s) times N(x_t; sqrt(a) x_s, 1-a).
    here, there, x, x0 = schedule.level(700), schedule.level(300), randn(), randn()
    alpha = here.alpha_bar / there.alpha_bar
    precision = 1 / (1 - there.alpha_bar) + alpha / (1 - alpha)
    prior = math.sqrt(there.alpha_bar) * x0 / (1 - there.alpha_bar)
    mean = (prior + math.sqrt(alpha) * x / (1 - alpha)) / precision
    noise = randn()
    expected = mean + noise / math.sqrt(precision)
    torch.testing.assert_close(
        ddpm_step(x, x0, here, there, noise), expected, rtol=1e-12, atol=1e-12
    )


def test_the_step_into_clean_is_the_predicted_latent(schedule, randn):
    x, x0, here = randn(), randn(), schedule.level(40)
    torch.testing.assert_close(ddpm_step(x, x0, here, CLEAN), x0, rtol=1e-14, atol=0)


@pytest.mark.parametrize("n_steps", [1, 7, 20])
def test_noise_is_drawn_at_every_step_but_the_last(schedule, gaussian, randn, n_steps):
    draws = []

    def draw():
        draws.append(randn())
        return draws[-1]

    sample(
        DDPM(),
        gaussian(2.0),
        randn(),
        DDPM().levels(schedule, n_steps),
        draw=draw,
        progress=False,
    )
    assert len(draws) == n_steps - 1


def test_a_run_ends_at_clean(schedule):
    assert DDPM().levels(schedule, 20)[-1] == CLEAN


@pytest.mark.holds("fact: other-std")
@pytest.mark.parametrize("data_std", [0.5, 2.0])
def test_the_samples_have_the_datas_std(schedule, gaussian, randn, data_std):
    x = randn(1, 4, 50, 50)
    levels = DDPM().levels(schedule, 400)
    z = sample(
        DDPM(), gaussian(data_std), x, levels, draw=lambda: randn(1, 4, 50, 50), progress=False
    )
    # 10,000 values tell their std to 0.7%; the method's own error at 400 steps is 2%.
    assert z.std().item() == pytest.approx(data_std, rel=0.05)


def test_inputs_stay_as_they_were(schedule, randn):
    given = [randn(), randn(), randn()]
    before = [tensor.clone() for tensor in given]
    ddpm_step(given[0], given[1], schedule.level(9), schedule.level(5), given[2])
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))
