import math
from itertools import pairwise

import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, EulerA, StepInput, ddim_step, predict_x0
from labml_sd.sampler.between import LevelWithBetween
from labml_sd.sampler.solvers.ancestral import (
    AncestralSolver,
    ancestral_split,
    ancestral_step,
    with_ancestral_between,
)
from labml_sd.sampler.solvers.ddim import ddim_sigma


@pytest.mark.holds("labml_sd.sampler.solvers.ancestral.ancestral_split")
@pytest.mark.parametrize("eta", [0, 0.3, 1])
def test_old_and_fresh_noise_add_up_to_the_level(eta):
    sigma_down, sigma_up = ancestral_split(5.0, 3.0, eta)
    assert sigma_down**2 + sigma_up**2 == pytest.approx(9, rel=1e-15)
    assert sigma_up == pytest.approx(eta * 3 * 4 / 5, rel=1e-15)


def test_eta_zero_keeps_the_level_to_the_bit(schedule):
    for t in range(999):
        sigma_from, sigma_to = schedule.level(t + 1).sigma, schedule.level(t).sigma
        assert ancestral_split(sigma_from, sigma_to, 0) == (sigma_to, 0)


def test_into_clean_no_noise_is_left():
    assert ancestral_split(3.0, 0.0) == (0, 0)


@pytest.mark.holds("labml_sd.sampler.solvers.ancestral.ancestral_step")
@pytest.mark.parametrize("eta", [0, 0.4, 1])
@pytest.mark.parametrize(("t", "s"), [(999, 949), (500, 499), (19, 0)])
def test_the_step_is_ddims_with_the_same_eta(schedule, randn, eta, t, s):
    here, there, x, eps, noise = schedule.level(t), schedule.level(s), randn(), randn(), randn()
    x0 = predict_x0(x, eps, here)
    step = ancestral_step(x, x0, here, there, eta, noise)
    ddim = ddim_step(x0, eps, there, ddim_sigma(here, there, eta), noise)
    torch.testing.assert_close(step, ddim, rtol=1e-11, atol=1e-11)


@pytest.mark.holds("labml_sd.sampler.solvers.ancestral.ancestral_step")
@pytest.mark.parametrize("eta", [0.4, 1])
def test_the_step_is_its_equation_in_sigma(schedule, randn, eta):
    here, there, x, x0, noise = (
        schedule.level(800),
        schedule.level(600),
        randn(),
        randn(),
        randn(),
    )
    up = eta * there.sigma * math.sqrt(1 - there.sigma**2 / here.sigma**2)
    kept = math.sqrt(there.sigma**2 - up**2) / here.sigma
    moved = kept * x / math.sqrt(here.alpha_bar) + (1 - kept) * x0 + up * noise
    step = ancestral_step(x, x0, here, there, eta, noise)
    torch.testing.assert_close(step, math.sqrt(there.alpha_bar) * moved, rtol=1e-12, atol=1e-12)


def test_the_step_into_clean_is_the_predicted_latent(schedule, randn):
    x0 = randn()
    assert torch.equal(ancestral_step(randn(), x0, schedule.level(40), CLEAN, 1, randn()), x0)


@pytest.mark.parametrize("eta", [0, 0.6, 1])
def test_the_level_between_is_halfway_to_sigma_down(schedule, eta):
    plain = EulerA().levels(schedule, 6)
    *listed, last, clean = with_ancestral_between(schedule, plain, eta)
    for here, there, level in zip(plain, plain[1:], listed, strict=False):
        assert isinstance(level, LevelWithBetween) and (level.t, level.alpha_bar) == (
            here.t,
            here.alpha_bar,
        )
        sigma_down, _ = ancestral_split(here.sigma, there.sigma, eta)
        halfway = (math.log(here.sigma) + math.log(sigma_down)) / 2
        assert math.log(level.between.sigma) == pytest.approx(halfway, abs=1e-12)
    assert [last, clean] == plain[-2:]


def test_with_eta_one_the_level_between_is_the_next(schedule):
    listed = with_ancestral_between(schedule, EulerA().levels(schedule, 6), 1)
    for here, there in pairwise(listed[:-1]):
        assert here.between.t == pytest.approx(there.t, abs=1e-9)


@pytest.mark.parametrize(("eta", "clean"), [(0, False), (1, True)])
def test_noise_that_is_not_used_is_not_drawn(schedule, randn, no_draw, eta, clean):
    here, there = schedule.level(700), CLEAN if clean else schedule.level(500)
    given = StepInput(lambda x, level: None, randn(), here, there, no_draw)
    assert AncestralSolver(eta=eta).noise(given) == 0


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_an_eta_out_of_range_is_refused(eta):
    with pytest.raises(GenerationError, match=r"^eta is .*; give a number from 0 .* to 1 .*$"):
        AncestralSolver(eta=eta)


@pytest.mark.parametrize("s_noise", [-0.1, float("inf"), float("nan")])
def test_an_s_noise_out_of_range_is_refused(s_noise):
    with pytest.raises(GenerationError, match=r"^s_noise is .*; give a number from 0 up, .*$"):
        AncestralSolver(s_noise=s_noise)
