from inspect import unwrap
from itertools import pairwise

import numpy as np
import pytest

from labml_sd.errors import GenerationError
from labml_sd.sampler import check_steps, timesteps
from labml_sd.sampler.spacing import visited

DIVISORS = [n for n in range(1, 1000) if 1000 % n == 0]


@pytest.mark.parametrize("spacing", ["trailing", "uniform", "quadratic"])
def test_every_step_count_gives_exactly_that_many_distinct_falling_times(spacing):
    for n_steps in range(1, 1001):
        times = timesteps(spacing, n_steps)
        assert len(times) == n_steps, n_steps
        assert all(earlier > later for earlier, later in pairwise(times)), n_steps
        assert 0 <= times[-1] and times[0] <= 999, n_steps
        assert all(type(t) is int for t in times), n_steps


@pytest.mark.parametrize("spacing", ["trailing", "uniform", "quadratic"])
def test_all_steps_are_all_times(spacing):
    assert timesteps(spacing, 1000) == tuple(range(999, -1, -1))


@pytest.mark.parametrize("n_steps", DIVISORS)
def test_uniform_is_the_compvis_list_where_it_works(n_steps):
    compvis = [t + 1 for t in range(0, 1000, 1000 // n_steps)]
    assert timesteps("uniform", n_steps) == tuple(reversed(compvis))


def test_leading_is_another_name_of_uniform():
    assert timesteps("leading", 30) == timesteps("uniform", 30)


def test_trailing_of_twenty_steps_is_known():
    assert timesteps("trailing", 20) == tuple(range(999, 0, -50))


@pytest.mark.parametrize("spacing", ["trailing", "quadratic"])
@pytest.mark.parametrize("n_steps", [1, 7, 30, 999])
def test_the_run_starts_at_the_noisiest_time(spacing, n_steps):
    assert timesteps(spacing, n_steps)[0] == 999


def test_quadratic_is_even_in_the_square_root():
    roots = [t**0.5 for t in timesteps("quadratic", 10)]
    strides = [a - b for a, b in pairwise(roots)]
    assert max(strides) - min(strides) < 0.1 * max(strides)


@pytest.mark.parametrize("spacing", ["trailing", "uniform", "quadratic"])
def test_a_shorter_schedule_is_spaced_just_as_well(spacing):
    for n_steps in range(1, 51):
        times = timesteps(spacing, n_steps, 50)
        assert len(set(times)) == n_steps and min(times) >= 0 and max(times) <= 49, n_steps


def test_visited_are_the_levels_of_the_times(schedule):
    levels = visited(schedule, "uniform", 50)
    assert [level.t for level in levels] == list(timesteps("uniform", 50))
    assert levels[0].alpha_bar == schedule.alpha_bar[981].item()


@pytest.mark.parametrize("n_steps", [0, -3, 1001, True, 20.0, "20", None, float("nan")])
def test_a_step_count_out_of_range_is_refused_in_one_line(n_steps):
    with pytest.raises(
        GenerationError, match=r"^steps is .*; give a whole number from 1 to 1000$"
    ):
        check_steps(n_steps)


def test_numbers_of_other_libraries_are_steps_and_times(schedule):
    assert check_steps(np.uint8(200)) == 200 and type(check_steps(np.uint8(200))) is int
    times = list(np.linspace(999, 0, 3, dtype=np.float32))
    found = unwrap(visited)(schedule, times, np.int64(3))  # past the check of annotations
    assert found == visited(schedule, (999, 499.5, 0), 3)


@pytest.mark.parametrize("n_steps", [0, 1001, True])
def test_timesteps_refuses_what_check_steps_refuses(n_steps):
    with pytest.raises(GenerationError, match="give a whole number"):
        timesteps("trailing", n_steps)


@pytest.mark.parametrize("spacing", ["linspace", "karras", "exponential"])
def test_every_step_count_gives_exactly_that_many_falling_levels_by_sigma(schedule, spacing):
    for n_steps in [*range(1, 31), 200, 999, 1000]:
        levels = visited(schedule, spacing, n_steps)
        assert len(levels) == n_steps, n_steps
        assert all(a.t > b.t and a.alpha_bar < b.alpha_bar for a, b in pairwise(levels)), (
            n_steps
        )


@pytest.mark.parametrize("spacing", ["linspace", "karras", "exponential"])
@pytest.mark.parametrize("n_steps", [2, 3, 20, 1000])
def test_levels_by_sigma_reach_from_the_highest_to_the_lowest_whole_time(
    schedule, spacing, n_steps
):
    levels = visited(schedule, spacing, n_steps)
    assert (levels[0], levels[-1]) == (schedule.level(999), schedule.level(0))


@pytest.mark.parametrize("spacing", ["linspace", "karras", "exponential"])
def test_a_single_level_by_sigma_is_the_highest(schedule, spacing):
    assert visited(schedule, spacing, 1) == [schedule.level(999)]


def test_karras_of_five_steps_is_known(schedule):
    sigmas = [level.sigma for level in visited(schedule, "karras", 5)]
    assert sigmas == pytest.approx([14.6146, 4.7965, 1.2741, 0.2479, 0.0292], abs=6e-5)


def test_linspace_is_even_in_time_at_fractions(schedule):
    times = [level.t for level in visited(schedule, "linspace", 5)]
    assert times == [999, 749.25, 499.5, 249.75, 0]
    sigmas = [level.sigma for level in visited(schedule, "linspace", 5)]  # k-diffusion's
    assert sigmas == pytest.approx([14.6146, 4.0861, 1.6156, 0.6951, 0.0292], abs=6e-5)
    assert [level.t for level in visited(schedule, "linspace", 1000)] == [*range(999, -1, -1)]


def test_exponential_is_even_in_log_sigma(schedule):
    logs = [level.half_log_snr for level in visited(schedule, "exponential", 9)]
    strides = [b - a for a, b in pairwise(logs)]
    assert strides == pytest.approx([strides[0]] * 8, rel=1e-12)


def test_a_list_of_times_is_taken_as_it_is_fractions_too(schedule):
    times = (999, 640.25, 80)
    assert visited(schedule, times, 3) == [schedule.level(t) for t in times]
    assert visited(schedule, list(times), 3) == visited(schedule, times, 3)


@pytest.mark.parametrize(
    ("times", "n_steps", "complaint"),
    [
        ((999, 500, 1), 20, "3 times for 20 steps; give as many times as steps"),
        ((999, 500, 500), 3, "times go from 500 to 500; each must be below the one before"),
        ((1, 500), 2, "times go from 1 to 500; each must be below the one before"),
        ((1000, 500), 2, "time 1000 is out of range; give numbers from 999 down to 0"),
        ((500, -1), 2, "time -1 is out of range; give numbers from 999 down to 0"),
        (
            (500, float("nan")),
            2,
            "time nan is out of range; give numbers from 999 down to 0",
        ),
    ],
)
def test_a_list_of_times_that_does_not_fit_is_refused_in_one_line(
    schedule, times, n_steps, complaint
):
    with pytest.raises(GenerationError, match=f"^{complaint}$"):
        visited(schedule, times, n_steps)


def test_an_unknown_spacing_is_refused_with_the_list(schedule):
    with pytest.raises(
        GenerationError,
        match="'kerras'; choose one of trailing, uniform, leading, quadratic, linspace, karras",
    ):
        visited(schedule, "kerras", 20)


def test_a_spacing_by_sigma_has_no_whole_times():
    with pytest.raises(
        GenerationError,
        match="'karras' of whole times; choose one of trailing, uniform, leading, quadratic",
    ):
        timesteps("karras", 20)
