"""A network that predicts v gives each sampler's run of one that predicts eps."""

import pytest
import torch

from labml_sd.config import ScheduleConfig
from labml_sd.pipeline import Conditioning, Denoiser
from labml_sd.sampler import SAMPLERS, NoiseSource, Schedule, get_sampler, sample

STD = 0.5  # of the data: 1 would hide an error in the schedule


class Gaussian:
    """The best prediction for data of N(0, STD^2), as eps or as v; counts its calls."""

    def __init__(self, schedule, kind):
        self.schedule, self.kind, self.calls = schedule, kind, 0

    def __call__(self, x, t, cond):
        self.calls += 1
        alpha_bar = self.schedule.level(float(t)).alpha_bar
        x0 = x * alpha_bar**0.5 * STD**2 / (alpha_bar * STD**2 + 1 - alpha_bar)
        eps = (x - alpha_bar**0.5 * x0) / (1 - alpha_bar) ** 0.5
        return eps if self.kind == "eps" else alpha_bar**0.5 * eps - (1 - alpha_bar) ** 0.5 * x0


@pytest.mark.parametrize("name", SAMPLERS)
def test_eps_and_v_give_the_same_run_in_the_same_number_of_calls(name):
    schedule, results = Schedule(ScheduleConfig()), []
    for kind in ("eps", "v"):
        network = Gaussian(schedule, kind)
        given = Conditioning(torch.zeros(2, 3, 4, dtype=torch.float64))
        denoise = Denoiser(network, given, prediction=kind)
        sampler = get_sampler(name)
        draw = NoiseSource([1, 2], (1, 4, 4), dtype=torch.float64).draw
        levels = sampler.levels(schedule, 10)
        z = sample(sampler, denoise, draw(), levels, draw=draw, progress=False)
        results.append((z, network.calls))
    (from_eps, calls), (from_v, calls_v) = results
    assert calls == calls_v
    torch.testing.assert_close(from_v, from_eps, rtol=1e-6, atol=1e-8)  # t is float32
