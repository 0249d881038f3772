import importlib
import math
import sys
from itertools import pairwise
from types import ModuleType

import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import DPMpp2SA, DPMppSDE, predict_x0, sample
from labml_sd.sampler.between import with_between
from labml_sd.sampler.solvers.ancestral import ancestral_step
from labml_sd.sampler.solvers.dpmpp_sde import whole_noise


@pytest.fixture
def sde_scheduler(peer, monkeypatch):
    """diffusers' scheduler. Its module imports torchsde, for noise alone."""
    name = "diffusers.schedulers.scheduling_dpmsolver_sde"
    importlib.import_module("diffusers.schedulers")
    monkeypatch.setitem(sys.modules, "torchsde", ModuleType("torchsde"))
    yield peer("scheduling_dpmsolver_sde", "DPMSolverSDEScheduler")
    sys.modules.pop(name, None)


def brownian(levels, noises):
    """A Brownian path made of our draws, as noise: (sigma, sigma) -> increment over its std."""
    stream, path = iter(noises), {levels[0].sigma: torch.zeros_like(noises[0])}
    places = [place for here in levels[:-2] for place in (here.sigma, here.between.sigma)]
    places.append(levels[-2].sigma)
    for high, low in pairwise(places):
        path[low] = path[high] + math.sqrt(high - low) * next(stream)

    def noise(sigma_from, sigma_to):
        near = [
            min(path, key=lambda known: abs(known - float(s))) for s in (sigma_from, sigma_to)
        ]
        return (path[near[1]] - path[near[0]]) / math.sqrt(near[0] - near[1])

    return noise


@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # in their tables
@pytest.mark.parametrize("n_steps", [2, 5, 20])
def test_a_run_is_diffusers_on_its_levels_along_one_brownian_path(
    schedule, gaussian, randn, sde_scheduler, run_peer, levels_of, n_steps
):
    x, noises, denoise = randn(), [randn() for _ in range(2 * n_steps)], gaussian(0.5)
    sde_scheduler.set_timesteps(n_steps)
    # Their list holds each sigma twice but the first and the last.
    plain = levels_of([*sde_scheduler.sigmas[:1], *sde_scheduler.sigmas[1:-1:2], 0.0])
    levels, stream = with_between(schedule, plain), iter(noises)
    assert len(levels) == n_steps + 1
    ours = sample(DPMppSDE(), denoise, x, levels, draw=lambda: next(stream), progress=False)
    sde_scheduler.noise_sampler = brownian(levels, noises)
    torch.testing.assert_close(ours, run_peer(sde_scheduler, denoise, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("r", [0.2, 0.5, 1])
def test_the_noise_of_the_whole_step_is_standard_normal_and_holds_that_of_its_first_part(
    schedule, r
):
    here, there, _ = DPMppSDE(r=r).levels(schedule, 2)
    first, second = torch.eye(2).double()[..., None, None, None]
    whole = whole_noise(first, second, here, there)
    assert (whole**2).sum().item() == pytest.approx(1, rel=1e-14)
    share = (here.sigma - here.between.sigma) / (here.sigma - there.sigma)
    assert whole[0].item() == pytest.approx(math.sqrt(share), rel=1e-14)


@pytest.mark.holds(
    "labml_sd.sampler.solvers.dpmpp_sde.dpmpp_sde_step",
    "labml_sd.sampler.solvers.dpmpp_sde.whole_noise",
)
@pytest.mark.parametrize("r", [0.2, 0.5, 0.8])
def test_a_step_is_its_equations_wherever_the_level_between_is(
    schedule, gaussian, randn, one_step, r
):
    sampler, denoise = DPMppSDE(eta=0.7, r=r), gaussian(2.0)
    x, first, second = randn(), randn(), randn()
    here, there, _ = sampler.levels(schedule, 2)
    between, stream = here.between, iter([first, second])
    x0 = predict_x0(x, denoise.eps(x, here), here)
    x_between = ancestral_step(x, x0, here, between, 0.7, first)
    x0_between = predict_x0(x_between, denoise.eps(x_between, between), between)
    ahead = (1 - 1 / (2 * r)) * x0 + 1 / (2 * r) * x0_between
    w = (here.sigma - between.sigma) / (here.sigma - there.sigma)
    expected = ancestral_step(
        x, ahead, here, there, 0.7, math.sqrt(w) * first + math.sqrt(1 - w) * second
    )
    step = one_step(sampler, denoise.eps, x, here, there, lambda: next(stream))
    torch.testing.assert_close(step, expected, rtol=1e-11, atol=1e-11)


def test_eta_zero_is_dpmpp_2s(schedule, gaussian, randn, no_draw):
    x, results = randn(), []
    for sampler in (DPMppSDE(eta=0), DPMpp2SA(eta=0)):
        levels = sampler.levels(schedule, 9)
        results.append(sample(sampler, gaussian(0.5), x, levels, draw=no_draw, progress=False))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("r", [0.2, 0.8, 1.0])
def test_another_r_evaluates_elsewhere_and_comes_to_the_same_end(
    schedule, gaussian, randn, no_draw, r
):
    x, results = randn(), []
    for sampler in (DPMppSDE(eta=0, r=r, spacing="karras"), DPMppSDE(eta=0, spacing="karras")):
        levels = sampler.levels(schedule, 100)
        results.append(sample(sampler, gaussian(0.5), x, levels, draw=no_draw, progress=False))
    torch.testing.assert_close(*results, rtol=2e-3, atol=0)
    assert not torch.equal(*results)


@pytest.mark.parametrize("r", [0, -0.5, 1.1, float("nan")])
def test_an_r_outside_the_step_is_refused(r):
    with pytest.raises(GenerationError, match=r"^r is .*; give a number above 0 and up to 1"):
        DPMppSDE(r=r)


@pytest.mark.parametrize("given", [{"eta": 1.5}, {"s_noise": -1}])
def test_a_number_out_of_range_is_refused(given):
    with pytest.raises(GenerationError, match="give a number from 0"):
        DPMppSDE(**given)
