import pytest

from labml_sd.errors import GenerationError
from labml_sd.sampler import DDIM, SAMPLERS, check_strength, get_sampler, tail


@pytest.fixture
def levels(schedule):
    return DDIM().levels(schedule, 20)


@pytest.mark.parametrize(
    ("strength", "n_steps"),
    [(1.0, 20), (1, 20), (0.75, 15), (0.5, 10), (0.74, 14), (0.05, 1), (0.001, 1)],
)
def test_strength_is_the_share_of_steps_that_run_and_at_least_one(levels, strength, n_steps):
    assert tail(levels, strength) == levels[-(n_steps + 1) :]


def test_rounding_of_the_product_costs_no_step(schedule):
    levels = DDIM().levels(schedule, 100)
    assert len(tail(levels, 0.29)) - 1 == 29


def test_strength_zero_leaves_the_end_level_and_no_step(levels):
    assert tail(levels, 0) == [levels[-1]]


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_count_runs_the_asked_share_for_every_sampler(schedule, name):
    for n_steps in (1, 2, 3, 7, 30, 667, 1000):
        levels = get_sampler(name).levels(schedule, n_steps)
        assert len(tail(levels, 0.5)) - 1 == max(1, n_steps // 2)


def test_the_list_given_is_not_changed(levels):
    before = list(levels)
    tail(levels, 0.5).clear()
    assert levels == before


@pytest.mark.parametrize(
    "strength", [-0.1, 1.01, float("nan"), float("inf"), True, "0.5", None]
)
def test_a_strength_out_of_range_is_refused_in_one_line(strength):
    with pytest.raises(
        GenerationError, match=r"^strength is .*; give a number from 0 .* to 1 .*$"
    ):
        check_strength(strength)


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_tail_refuses_what_check_strength_refuses(levels, strength):
    with pytest.raises(GenerationError, match="give a number"):
        tail(levels, strength)
