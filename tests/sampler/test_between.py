import pytest

from labml_sd.sampler import CLEAN
from labml_sd.sampler.between import LevelWithBetween, with_between


def test_between_two_levels_lies_their_geometric_mean_in_sigma(schedule):
    listed = with_between(schedule, [schedule.level(t) for t in (999, 500, 20)])
    for here, there in ((listed[0], listed[1]), (listed[1], listed[2])):
        assert here.between.sigma == pytest.approx((here.sigma * there.sigma) ** 0.5, rel=1e-12)
        assert here.t > here.between.t > there.t


def test_the_share_is_how_far_toward_the_next_level(schedule):
    here, there = schedule.level(900), schedule.level(500)
    between = with_between(schedule, [here, there], share=0.25)[0].between
    shift = between.half_log_snr - here.half_log_snr
    assert shift == pytest.approx(0.25 * (there.half_log_snr - here.half_log_snr), rel=1e-12)


def test_before_clean_and_at_the_end_there_is_no_level_between(schedule):
    listed = with_between(schedule, [schedule.level(999), schedule.level(500), CLEAN])
    assert [isinstance(level, LevelWithBetween) for level in listed] == [True, False, False]


def test_the_levels_themselves_stay(schedule):
    levels = [schedule.level(t) for t in (999, 500, 20)]
    listed = with_between(schedule, levels)
    for level, given in zip(listed, levels, strict=True):
        assert (level.t, level.alpha_bar) == (given.t, given.alpha_bar)


def test_a_single_level_stays_alone(schedule):
    assert with_between(schedule, [schedule.level(0)]) == [schedule.level(0)]
