"""The diffusers presets against the schedulers, made by `from_config` of SD v1 as users do.

Their lists are taken as they are, float32. Their arithmetic is done in float64: only that is
changed, after they have laid their lists out. Every question to the network is compared, its
latent and its time.
"""

import importlib
import math
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler
from torch import Tensor

from labml_sd.config import ScheduleConfig
from labml_sd.sampler import (
    TOOLS,
    AsIn,
    Level,
    Moment,
    Prediction,
    Schedule,
    add_noise,
    as_in,
    from_eps,
    sample,
)
from labml_sd.sampler.compat.levels import computed_in_float32, rounded_to_float32

SD_V1 = {  # scheduler/scheduler_config.json of Stable Diffusion v1
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "clip_sample": False,
    "trained_betas": None,
}
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "plms": ("PNDMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm_2": ("KDPM2DiscreteScheduler", {}),
    "dpm_2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpmpp_sde": ("DPMSolverSDEScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
COUNTS = (5, 20, 30, 50)
SCHEDULE = Schedule(ScheduleConfig())
SHAPE = (2, 4, 3, 5)
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # in their tables

Asked = list[tuple[float, Tensor]]


def noises(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(SHAPE, dtype=torch.float64, generator=generator) for _ in range(count)]


def network(x: Tensor, t: float) -> Tensor:
    """Some smooth function of both, in place of a U-Net."""
    return torch.tanh(0.8 * x + t / 1000) + 0.1 * x.mean()


def ours(sampler: AsIn, x: Tensor, levels: list[Level]) -> tuple[Asked, Tensor]:
    """What the network was asked in a run of the preset, and the end."""
    asked: Asked = []
    stream = iter(noises(2 * len(levels))[1:])

    def denoise(x: Tensor, moment: Moment) -> Prediction:
        t = moment.level.t
        asked.append((t, x))
        return from_eps(x, network(x, t), moment.level)

    end = sample(sampler, denoise, x, levels, draw=lambda: next(stream), progress=False)
    return asked, end


@pytest.fixture
def their_scheduler(monkeypatch: pytest.MonkeyPatch, lms_scheduler: type) -> Iterator[Callable]:
    """Makes a scheduler with float32 lists of its own whose steps are float64."""
    sde = "diffusers.schedulers.scheduling_dpmsolver_sde"

    def make(name: str, n_steps: int, levels: list[Level]) -> Any:
        class_name, settings = CLASSES[name]
        if name == "lms":
            scheduler_class = lms_scheduler
        elif name == "dpmpp_sde":  # torchsde is for noise alone
            monkeypatch.setitem(sys.modules, "torchsde", ModuleType("torchsde"))
            scheduler_class = importlib.import_module(sde).DPMSolverSDEScheduler
        else:
            scheduler_class = getattr(diffusers, class_name)
        scheduler = scheduler_class.from_config(SD_V1, **settings)
        scheduler.set_timesteps(n_steps)
        for key, value in list(vars(scheduler).items()):
            if (
                isinstance(value, Tensor)
                and value.dtype == torch.float32
                and key != "timesteps"
            ):
                setattr(scheduler, key, value.double())
        stream = iter(noises(2 * n_steps + 2)[1:])
        module = sys.modules[scheduler_class.__module__]
        monkeypatch.setattr(
            module, "torch", SimpleNamespace(**{**vars(torch), "float32": torch.float64})
        )
        monkeypatch.setattr(
            module, "randn_tensor", lambda *_, **__: next(stream), raising=False
        )
        if name == "dpmpp_sde":
            scheduler.noise_sampler = brownian(levels, stream)
        return scheduler

    yield make
    sys.modules.pop(sde, None)


def brownian(levels: list[Any], stream: Iterator[Tensor]) -> Callable[[Any, Any], Tensor]:
    """A Brownian path made of our draws, as noise: (sigma, sigma) -> increment over its std."""
    places = [place for here in levels[:-2] for place in (here.sigma, here.between.sigma)]
    path = {places[0]: torch.zeros(SHAPE, dtype=torch.float64)}
    for high, low in pairwise([*places, levels[-2].sigma]):
        path[low] = path[high] + math.sqrt(high - low) * next(stream)

    def noise(sigma_from: Any, sigma_to: Any) -> Tensor:
        near = [
            min(path, key=lambda known: abs(known - float(s))) for s in (sigma_from, sigma_to)
        ]
        return (path[near[1]] - path[near[0]]) / math.sqrt(near[0] - near[1])

    return noise


def theirs(scheduler: Any, x: Tensor, times: Tensor) -> tuple[Asked, Tensor]:
    """What the network was asked in a run as their pipeline runs it, and the end."""
    asked: Asked = []
    for t in times:
        scaled = scheduler.scale_model_input(x, t)
        asked.append((float(t), scaled))
        x = scheduler.step(network(scaled, float(t)), t, x).prev_sample
    return asked, x


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def assert_same(mine: tuple[Asked, Tensor], yours: tuple[Asked, Tensor], name: str) -> None:
    # Between two listed levels their sigma and its time are float32 results, ours are not.
    in_between = name in ("dpm_2", "dpm_2_a", "dpmpp_sde")
    assert [t for t, _ in mine[0]] == pytest.approx(
        [t for t, _ in yours[0]], abs=1e-3 if in_between else 0
    )
    # DDPM adds noise of std 1e-10 into no noise at all.
    tolerance = 1e-6 if in_between else 1e-9 if name == "ddpm" else 1e-12
    for (_, a), (_, b) in zip(mine[0], yours[0], strict=True):
        assert difference(a, b) <= tolerance
    assert difference(mine[1], yours[1]) <= tolerance


def test_every_preset_is_compared():
    assert set(CLASSES) == set(TOOLS["diffusers"])


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("n_steps", COUNTS)
def test_a_run_from_noise_is_theirs(name, n_steps, their_scheduler):
    sampler = as_in("diffusers", name)
    levels = sampler.levels(SCHEDULE, n_steps)
    scheduler, noise = their_scheduler(name, n_steps, levels), noises(1)[0]
    mine = ours(sampler, sampler.noise_scale(levels[0]) * noise, levels)
    assert_same(
        mine, theirs(scheduler, noise * scheduler.init_noise_sigma, scheduler.timesteps), name
    )


def on_a_picture(
    name: str, strength: float, their_scheduler: Callable[..., Any]
) -> list[tuple[Asked, Tensor]]:
    """A run of img2img in 20 steps, ours and as their pipeline does it."""
    sampler, (noise, z) = as_in("diffusers", name), noises(2)
    noised_to, levels = sampler.start(sampler.levels(SCHEDULE, 20), 20, strength)
    scheduler = their_scheduler(name, 20, levels)
    begin = (20 - int(20 * strength)) * scheduler.order
    times = scheduler.timesteps[begin:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    mine = ours(sampler, add_noise(z, noise, noised_to), levels)
    return [mine, theirs(scheduler, scheduler.add_noise(z, noise, times[:1].repeat(2)), times)]


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("plms", "lms")])
@pytest.mark.parametrize("strength", [0.29, 0.5, 1.0])
def test_a_run_on_a_picture_is_theirs(name, strength, their_scheduler):
    assert_same(*on_a_picture(name, strength, their_scheduler), name)


def test_their_pndm_on_a_picture_steps_from_a_level_that_it_is_not_at(their_scheduler):
    # Its list has the second time twice, and strength cuts both off: the corrected first step
    # ends at the second time, but the third time is taken for it. Ours keeps latent and time
    # together.
    (mine, end), (yours, their_end) = on_a_picture("plms", 0.5, their_scheduler)
    assert [t for t, _ in mine] == [451, 401, *range(401, 0, -50)]
    assert [t for t, _ in yours] == [501, 451, *range(401, 0, -50)]
    assert difference(end, their_end) > 0.01


def test_their_lms_on_a_picture_weighs_answers_that_it_does_not_have(their_scheduler):
    # It counts the steps that were cut off, and takes the first of four weights for the only
    # answer.
    (mine, end), (yours, their_end) = on_a_picture("lms", 0.5, their_scheduler)
    assert [t for t, _ in mine] == [t for t, _ in yours]
    assert difference(mine[0][1], yours[0][1]) < 1e-12
    assert difference(mine[1][1], yours[1][1]) > 0.01 and difference(end, their_end) > 0.01


def test_their_table_is_taken_bit_for_bit():
    theirs = DDIMScheduler.from_config(SD_V1).alphas_cumprod.double()
    assert torch.equal(computed_in_float32(SCHEDULE).alpha_bar, theirs)


@pytest.mark.parametrize("name", [name for name in CLASSES if name not in ("lms", "dpmpp_sde")])
def test_a_scheduler_made_from_the_one_that_came_with_the_model_is_the_same(name):
    class_name, settings = CLASSES[name]
    lists = []
    for config in (SD_V1, PNDMScheduler.from_config(SD_V1).config):
        scheduler = getattr(diffusers, class_name).from_config(config, **settings)
        scheduler.set_timesteps(20)
        lists.append(scheduler.timesteps.tolist())
    assert lists[0] == lists[1]


@pytest.mark.parametrize("n_steps", [5, 20, 50])
def test_pndm_with_skip_prk_steps_is_the_plms_of_compvis(n_steps):
    # Where the count divides 1000; the tables, which differ in their last digits, are made
    # equal.
    sampler, noise = as_in("compvis", "plms"), noises(1)[0]
    scheduler = PNDMScheduler.from_config(SD_V1)
    scheduler.alphas_cumprod = rounded_to_float32(SCHEDULE).alpha_bar
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    scheduler.set_timesteps(n_steps)
    yours, their_end = theirs(scheduler, noise, scheduler.timesteps)
    mine, end = ours(sampler, noise, sampler.levels(SCHEDULE, n_steps))
    by_the_rule, rule_end = compvis_plms(noise, n_steps)
    for (t, x), (their_t, their_x), (rule_t, rule_x) in zip(
        mine, yours, by_the_rule, strict=True
    ):
        # To the second question of all CompVis gives the next listed time, ours the same.
        assert t == their_t == rule_t
        assert difference(their_x, x) < 1e-11 and difference(their_x, rule_x) < 1e-11
    assert difference(their_end, end) < 1e-11 and difference(their_end, rule_end) < 1e-11


def compvis_plms(x: Tensor, n_steps: int) -> tuple[Asked, Tensor]:
    """Their rule, written again: a first step as in Heun, then Adams-Bashforth weights."""
    alpha_bar = rounded_to_float32(SCHEDULE).alpha_bar.tolist()
    listed = [*range(1 + 1000 - 1000 // n_steps, 0, -(1000 // n_steps))]
    asked: Asked = []

    def ask(x: Tensor, t: int) -> Tensor:
        asked.append((t, x))
        return network(x, t)

    past: list[Tensor] = []
    for t, s in pairwise([*listed, 0]):
        a, b = alpha_bar[t], alpha_bar[s]

        def move(eps: Tensor, x: Tensor = x, a: float = a, b: float = b) -> Tensor:
            return b**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps

        past.append(ask(x, t))
        e = past[::-1]
        if len(e) == 1:
            eps = (e[0] + ask(move(e[0]), s)) / 2
        elif len(e) == 2:
            eps = (3 * e[0] - e[1]) / 2
        elif len(e) == 3:
            eps = (23 * e[0] - 16 * e[1] + 5 * e[2]) / 12
        else:
            eps = (55 * e[0] - 59 * e[1] + 37 * e[2] - 9 * e[3]) / 24
        x = move(eps)
    return asked, x
