"""The presets against published lists and rules written again, and the numbers of the page."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, SAMPLERS, TOOLS, Schedule, as_in, get_sampler, sample
from labml_sd.sampler.compat.levels import computed_in_float32, rounded_to_float32
from labml_sd.sampler.compat.tools import Strength

PAGE = Path(__file__).parents[3] / "docs" / "compat.md"
EVERY = [(tool, name) for tool, ways in TOOLS.items() for name in ways]
COUNTS = (1, 2, 3, 7, 20, 30, 50, 333, 501, 999, 1000)


def times(tool: str, name: str, schedule: Schedule, n_steps: int) -> list[float]:
    return [level.t for level in as_in(tool, name).levels(schedule, n_steps)]


def sigmas(tool: str, name: str, schedule: Schedule, n_steps: int) -> list[float]:
    return [level.sigma for level in as_in(tool, name).levels(schedule, n_steps)]


def runs(tool, name, schedule, gaussian, randn, n_steps, x):
    """(the end of a run on data of std 0.5, how often the network was asked)."""
    sampler = get_sampler(name) if tool is None else as_in(tool, name)
    levels, denoise = sampler.levels(schedule, n_steps), gaussian(0.5)
    x = x if tool is None else sampler.noise_scale(levels[0]) * x
    z = sample(sampler, denoise, x, levels, draw=lambda: randn(*x.shape), progress=False)
    return z, len(denoise.asked_at)


# The lists of times and noise levels


@pytest.mark.parametrize(
    "tool, name, n_steps, head, tail, count",
    [
        ("compvis", "ddim", 50, [981, 961], [21, 1, 0], 50),
        ("compvis", "plms", 30, [991, 958, 925], [34, 1, 0], 31),
        ("labml", "ddim", 30, [991, 958, 925], [34, 1, 0], 31),
        ("labml", "ddpm", 30, [999, 998, 997], [1, 0, 0], 1000),
        ("diffusers", "ddim", 20, [951, 901], [51, 1, 0], 20),
        ("diffusers", "ddim", 30, [958, 925], [34, 1, 0], 30),
        ("diffusers", "plms", 20, [951, 901, 851], [1, 0], 20),
        ("diffusers", "euler", 20, [999, 946.4211, 893.8421], [0, 0], 20),
        ("diffusers", "dpmpp_2m", 20, [999, 949], [50, 0], 20),
        ("a1111", "ddim", 20, [951, 901], [51, 1], 19),
        ("a1111", "plms", 20, [951, 901], [51, 1], 19),
    ],
)
def test_the_times_are_the_published_ones(schedule, tool, name, n_steps, head, tail, count):
    found = times(tool, name, schedule, n_steps)
    assert len(found) - 1 == count
    assert found[: len(head)] == pytest.approx(head, abs=1e-4) and found[-len(tail) :] == tail


@pytest.mark.parametrize(
    "tool, name, n_steps, head, tail",
    [
        ("a1111", "euler", 5, [14.6146, 4.0861, 1.6156, 0.6951, 0.0292, 0], [0]),
        (
            "a1111",
            "euler",
            20,
            [14.61464, 10.74680, 8.08152, 6.20493],
            [0.35555, 0.23216, 0.02917, 0],
        ),
        ("a1111", "dpmpp_2m", 5, [14.6146, 4.7965, 1.2741, 0.2480, 0.0292, 0], [0]),
        (
            "a1111",
            "dpmpp_2m",
            20,
            [14.61464, 11.72536, 9.34020, 7.38362],
            [0.07786, 0.04848, 0.02917, 0],
        ),
        ("diffusers", "euler", 20, [14.6146, 10.7469, 8.0815], [0.23217, 0.02917, 0]),
        ("diffusers", "dpmpp_2m", 20, [14.6146, 10.9042], [0.22558, 0]),
    ],
)
def test_the_sigmas_are_the_published_ones(schedule, tool, name, n_steps, head, tail):
    found = sigmas(tool, name, schedule, n_steps)
    assert found[: len(head)] == pytest.approx(head, abs=5e-5)
    assert found[-len(tail) :] == pytest.approx(tail, abs=5e-6)


@pytest.mark.parametrize(
    "name, spacing, listed",
    [
        ("euler", "karras", [14.6146, 4.7965, 1.2741, 0.2480, 0.0292, 0]),
        ("dpmpp_2m", "linspace", [14.6146, 4.0861, 1.6156, 0.6951, 0.0292, 0]),
        ("dpmpp_2m", "exponential", [14.6146, 3.0890, 0.6529, 0.1380, 0.0292, 0]),
        ("dpmpp_2m", "trailing", [14.6146, 5.0924, 2.2797, 1.1629, 0.5712, 0]),
    ],
)
def test_the_web_ui_runs_a_sampler_on_the_levels_of_any_schedule_type(
    schedule, name, spacing, listed
):
    levels = as_in("a1111", name, spacing).levels(schedule, 5)
    assert [level.sigma for level in levels] == pytest.approx(listed, abs=6e-5)


def test_a_sampler_that_drops_the_lowest_level_does_so_with_every_schedule_type(schedule):
    levels = as_in("a1111", "dpm_2", "linspace").levels(schedule, 5)
    one_more = as_in("a1111", "euler", "linspace").levels(schedule, 6)
    assert [level.t for level in levels] == [level.t for level in [*one_more[:5], CLEAN]]


def test_the_schedule_type_of_automatic_is_one_of_those_that_can_be_chosen(schedule):
    assert as_in("a1111", "dpmpp_2m", "karras").levels(schedule, 7) == as_in(
        "a1111", "dpmpp_2m"
    ).levels(schedule, 7)


@pytest.mark.parametrize(
    "tool, name, message",
    [
        ("a1111", "euler", "no spacing 'uniform' for euler: choose one of linspace, trailing"),
        ("a1111", "ddim", "a1111 has no spacing 'uniform' for ddim: leave it out"),
        ("diffusers", "euler", "diffusers has no spacing 'uniform' for euler: leave it out"),
    ],
)
def test_a_spacing_that_a_tool_does_not_have_is_refused(tool, name, message):
    with pytest.raises(GenerationError, match=message):
        as_in(tool, name, "uniform")


def strided(n_steps: int) -> list[int]:
    """The rule of CompVis and labml, before the web UI's cut."""
    return [t + 1 for t in range(0, 1000, 1000 // n_steps)]


@pytest.mark.parametrize(
    "tool, name", [("compvis", "ddim"), ("compvis", "plms"), ("labml", "ddim")]
)
def test_compvis_and_labml_take_the_times_of_their_rule(schedule, tool, name):
    failing = {n for n in range(1, 1001) if 1000 in strided(n)}
    listed = {3, 9, 27, 36, 37, *range(101, 112), *range(251, 334), *range(501, 1001)}
    assert failing == listed  # as the page says
    for n_steps in {*range(1, 1001)} - failing:
        assert times(tool, name, schedule, n_steps) == [*reversed(strided(n_steps)), 0], n_steps
    for n_steps in (3, 9, 300, 1000):
        assert times(tool, name, schedule, n_steps)[0] == 999


@pytest.mark.parametrize("n_steps", COUNTS)
def test_the_web_ui_cuts_the_times_at_999_and_never_asks_at_1(schedule, n_steps):
    cut = {min(t, 999) for t in strided(n_steps)}
    assert times("a1111", "ddim", schedule, n_steps) == sorted(cut, reverse=True)


@pytest.mark.parametrize("name", ["dpm_2", "dpm_2_a", "dpmpp_3m_sde"])
@pytest.mark.parametrize("n_steps", [1, 5, 20])
def test_where_the_web_ui_drops_the_lowest_level_it_lays_out_one_more(schedule, name, n_steps):
    rho = 7 if name != "dpmpp_3m_sde" else 1e7  # even in log sigma is the limit
    table = (1 / rounded_to_float32(schedule).alpha_bar - 1).sqrt()
    shares = np.linspace(0, 1, n_steps + 1)[:-1]
    top, bottom = float(table[-1]) ** (1 / rho), float(table[0]) ** (1 / rho)
    assert sigmas("a1111", name, schedule, n_steps) == pytest.approx(
        [*((top + shares * (bottom - top)) ** rho), 0], rel=1e-5
    )


def test_unipc_of_the_web_ui_makes_even_steps_in_time_to_t_0(schedule):
    levels = as_in("a1111", "unipc").levels(schedule, 30)
    assert [level.t for level in levels] == pytest.approx(
        np.linspace(999, 0, 32).tolist(), abs=1e-9
    )
    assert levels[-1].alpha_bar == pytest.approx(schedule.alpha_bar[0].item(), rel=1e-7)
    assert [level.max_order for level in levels[-5:-1]] == [3, 3, 2, 1]


def test_their_tables_are_float32_and_ours_is_not(schedule):
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    exact = np.cumprod(1 - betas)
    rounded, computed = (
        rounded_to_float32(schedule).alpha_bar,
        computed_in_float32(schedule).alpha_bar,
    )
    assert np.array_equal(rounded.numpy(), exact.astype(np.float32).astype(float))
    assert int((computed != rounded).sum()) == 986
    off = (computed - torch.from_numpy(exact)).abs() / torch.from_numpy(exact)
    assert 9e-7 < off.max().item() < 1e-6
    torch.testing.assert_close(schedule.alpha_bar, torch.from_numpy(exact), rtol=1e-14, atol=0)


@pytest.mark.parametrize("tool, name", EVERY)
def test_every_count_gives_levels_that_fall_and_a_run_that_ends(
    schedule, gaussian, randn, tool, name
):
    sampler = as_in(tool, name)
    for n_steps in COUNTS:
        levels = sampler.levels(schedule, n_steps)
        assert all(here.alpha_bar < there.alpha_bar for here, there in pairwise(levels)), (
            n_steps
        )
    for n_steps in (1, 2, 3, 7):
        z, _ = runs(tool, name, schedule, gaussian, randn, n_steps, randn())
        assert z.isfinite().all(), n_steps


@pytest.mark.parametrize("n_steps", [0, 1001])
def test_a_count_out_of_range_is_refused(schedule, n_steps):
    with pytest.raises(GenerationError, match="give a whole number from 1 to 1000"):
        as_in("diffusers", "dpmpp_2m").levels(schedule, n_steps)


# The first noise


@pytest.mark.parametrize("tool, name", EVERY)
def test_the_first_noise_is_of_std_1_or_that_of_a_noised_black_latent(schedule, tool, name):
    sampler = as_in(tool, name)
    first = sampler.levels(schedule, 20)[0]
    timed = (
        {"compvis", "labml"},
        {"ddpm", "ddim", "plms"},
        {"dpmpp_2m", "dpmpp_2m_sde", "unipc"},
    )
    is_one = tool in timed[0] or name in timed[1] or (tool == "diffusers" and name in timed[2])
    is_one = is_one or (tool, name) == ("a1111", "unipc")
    scale = 1 if is_one else first.sigma / math.sqrt(1 + first.sigma**2)
    assert sampler.noise_scale(first) == pytest.approx(scale, rel=1e-12)


# Strength


def started(schedule, tool, name, n_steps, strength):
    """(the time noised to, the times that are run and the end)."""
    sampler = as_in(tool, name)
    noised_to, levels = sampler.start(sampler.levels(schedule, n_steps), n_steps, strength)
    return noised_to.t, [level.t for level in levels]


@pytest.mark.holds("labml_sd.sampler.compat.tools.Strength")
@pytest.mark.parametrize(
    "rule",
    [
        Strength(),
        Strength(fewest=1),
        Strength(highest=0.999, more=1),
        Strength(highest=0.999, more=-1, fewest=-1),
        Strength(fewest=1, of_list=True),
    ],
)
def test_the_number_of_steps_is_the_equation_of_strength(rule):
    for s in (0.01, 0.29, 0.5, 0.75, 0.9995, 1.0):
        for n_asked in (1, 7, 20):
            whole = 300 if rule.of_list else n_asked
            n = max(rule.fewest, math.floor(min(s, rule.highest) * whole) + rule.more)
            assert rule.n_run(s, n_asked, n_listed=300) == n


@pytest.mark.parametrize("tool", ["compvis", "labml"])
@pytest.mark.parametrize("n_steps", [5, 20, 30])
@pytest.mark.parametrize("strength", [0.01, 0.29, 0.5, 0.75, 0.99])
def test_compvis_and_labml_noise_one_level_above_the_first_step(
    schedule, tool, n_steps, strength
):
    ascending = strided(n_steps)
    n = int(strength * n_steps)
    expected = ascending[n], [*reversed(ascending[:n]), 0]
    assert started(schedule, tool, "ddim", n_steps, strength) == expected


@pytest.mark.parametrize("tool", ["compvis", "labml"])
def test_where_compvis_and_labml_fail_at_strength_1_the_highest_level_is_noised_to(
    schedule, tool
):
    whole = [*range(951, 0, -50), 0]
    assert started(schedule, tool, "ddim", 20, 1.0) == (951, whole)
    # Their list is longer than asked for here, and reaches.
    assert started(schedule, tool, "ddim", 30, 1.0)[0] == 991
    assert started(schedule, tool, "ddim", 30, 1.0)[1][0] == 958


@pytest.mark.parametrize("name", [name for name in TOOLS["diffusers"]])
@pytest.mark.parametrize("strength", [0.01, 0.29, 0.5, 1.0])
def test_diffusers_runs_the_last_of_the_steps_from_where_it_noises_to(schedule, name, strength):
    whole = times("diffusers", name, schedule, 100)
    n = max(1, min(int(100 * strength), 100))  # 0.29 * 100 is 28.999999999999996
    assert started(schedule, "diffusers", name, 100, strength) == (
        whole[-n - 1],
        whole[-n - 1 :],
    )


@pytest.mark.parametrize("name", ["euler", "dpm_2", "dpmpp_2m", "dpmpp_3m_sde"])
@pytest.mark.parametrize("strength", [0.01, 0.29, 0.5, 1.0])
def test_the_web_ui_runs_one_step_more_in_sigma(schedule, name, strength):
    whole = times("a1111", name, schedule, 20)
    t_enc = int(min(strength, 0.999) * 20)
    first = 20 - t_enc - 1
    assert started(schedule, "a1111", name, 20, strength) == (whole[first], whole[first:])


@pytest.mark.parametrize("strength", [0.01, 0.05, 0.1, 0.29, 0.5, 1.0])
def test_the_web_ui_runs_one_step_less_in_time_and_noises_one_level_above(schedule, strength):
    ascending = strided(20)
    t_enc = int(min(strength, 0.999) * 20)
    run = list(reversed(ascending[:t_enc])) or [1]
    assert started(schedule, "a1111", "ddim", 20, strength) == (ascending[t_enc], run)


@pytest.mark.parametrize("tool, name", EVERY)
@pytest.mark.parametrize("n_steps", [1, 2, 20, 1000])
def test_any_strength_starts_somewhere_in_the_list(schedule, tool, name, n_steps):
    sampler = as_in(tool, name)
    levels = sampler.levels(schedule, n_steps)
    for strength in (1e-6, 0.01, 0.5, 0.999, 1.0):
        noised_to, run = sampler.start(levels, n_steps, strength)
        assert noised_to in levels and run == levels[len(levels) - len(run) :] and run


# What is refused


def test_an_unknown_tool_is_refused():
    with pytest.raises(
        GenerationError,
        match="compat is 'comfy'; choose one of compvis, labml, diffusers, a1111",
    ):
        as_in("comfy", "ddim")


def test_a_sampler_that_a_tool_does_not_have_is_refused_naming_those_that_do():
    with pytest.raises(
        GenerationError, match=r"compvis has no sampler 'heun'.* is in diffusers, a1111"
    ) as error:
        as_in("compvis", "heun")
    assert "\n" not in str(error.value)


def test_a_sampler_object_is_refused():
    with pytest.raises(GenerationError, match="needs a sampler's name"):
        as_in("compvis", get_sampler("ddim"))


# What it amounts to: the tables of the page


def rms(a, b):
    return ((a - b) ** 2).mean().sqrt().item()


def line(tool, name, schedule, gaussian, seeded):
    """A row of the page: 20 steps asked for, on data of std 0.5."""
    ends, asked = [], []
    for which in (None, tool):
        randn = seeded()
        z, n = runs(which, name, schedule, gaussian, randn, 20, randn(1, 4, 16, 16))
        ends.append(z)
        asked.append(n)
    levels = as_in(tool, name).levels(schedule, 20)
    scale = as_in(tool, name).noise_scale(levels[0])
    shown = (
        f"{levels[0].sigma:.4f} | {levels[-2].sigma:.4f} | {levels[-1].sigma:.4f} | {scale:.4f}"
    )
    return f"| `{name}` | {asked[0]} | {asked[1]} | {shown} | {rms(*ends):.4f} |"


@pytest.fixture
def seeded():
    """Each call starts the same stream of float64 noise again."""

    def make():
        generator = torch.Generator().manual_seed(0)
        return lambda *shape: torch.randn(shape, dtype=torch.float64, generator=generator)

    return make


@pytest.mark.parametrize("tool, name", EVERY)
def test_the_page_tells_what_is_measured(schedule, gaussian, seeded, tool, name):
    text = PAGE.read_text(encoding="utf-8")
    section = text.split(f"\n## {tool}: ")[1].split("\n## ")[0]
    assert line(tool, name, schedule, gaussian, seeded) in section


@pytest.mark.parametrize("tool", TOOLS)
def test_the_page_has_a_row_for_each_sampler_of_a_tool_and_no_other(tool):
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {tool}: ")[1].split("\n## ")[0]
    rows = [row.split("`")[1] for row in section.splitlines() if row.startswith("| `")]
    assert sorted(rows) == sorted(TOOLS[tool])


def test_ours_start_at_the_highest_level_and_visit_as_many_as_asked_for(schedule):
    # What the page compares with.
    for name in SAMPLERS:
        levels = get_sampler(name).levels(schedule, 20)
        assert (len(levels), levels[0].t, levels[-2].t) == (21, 999, 49)
        assert levels[-1] == (schedule.level(0) if name in ("ddim", "plms") else CLEAN)
