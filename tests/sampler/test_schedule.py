import math

import pytest
import torch

from labml_sd.config import ScheduleConfig
from labml_sd.sampler import CLEAN, Level, Schedule, add_noise, predict_x0

GOLDEN_ALPHA_BAR = {
    1: 0.9982960278384514,
    21: 0.9803807481013713,
    501: 0.2749990668501319,
    981: 0.005775500139495751,
    999: 0.004660098513077238,
}


@pytest.mark.parametrize(("t", "alpha_bar"), GOLDEN_ALPHA_BAR.items())
def test_alpha_bar_is_the_published_number(schedule, t, alpha_bar):
    assert schedule.alpha_bar[t].item() == pytest.approx(alpha_bar, rel=1e-13)


@pytest.mark.parametrize(("t", "sigma"), [(0, 0.029167158151720367), (999, 14.614641229333639)])
def test_sigma_is_the_published_number(schedule, t, sigma):
    assert schedule.level(t).sigma == pytest.approx(sigma, rel=1e-12)


def test_beta_is_even_in_its_square_root_between_the_two_ends(schedule):
    strides = schedule.beta.sqrt().diff()
    torch.testing.assert_close(strides, strides.mean().expand(999), rtol=1e-10, atol=0)
    assert schedule.beta[0].item() == pytest.approx(0.00085, rel=1e-14)
    assert schedule.beta[-1].item() == pytest.approx(0.012, rel=1e-14)


def test_tables_are_float64_on_the_cpu_also_inside_a_meta_device_context():
    with torch.device("meta"):
        schedule = Schedule(ScheduleConfig())
    for table in (schedule.beta, schedule.alpha_bar):
        assert (table.dtype, table.device.type) == (torch.float64, "cpu")


def test_a_schedule_may_have_another_length():
    schedule = Schedule(ScheduleConfig(n_steps=10))
    assert schedule.n_steps == len(schedule.alpha_bar) == 10


@pytest.mark.parametrize("t", [-1, 1000])
def test_a_time_outside_the_schedule_is_an_index_error(schedule, t):
    with pytest.raises(IndexError, match="outside the schedule"):
        schedule.level(t)


def test_a_level_holds_python_floats(schedule):
    level = schedule.level(501)
    assert (type(level.t), type(level.alpha_bar)) == (float, float)


def test_half_log_snr_is_the_log_of_signal_over_noise(schedule):
    level = schedule.level(300)
    signal, noise = math.sqrt(level.alpha_bar), math.sqrt(1 - level.alpha_bar)
    assert level.half_log_snr == pytest.approx(math.log(signal / noise), rel=1e-12)


def test_clean_has_no_noise_and_infinite_snr():
    assert (CLEAN.t, CLEAN.alpha_bar, CLEAN.sigma, CLEAN.half_log_snr) == (0.0, 1.0, 0.0, math.inf)


def test_add_noise_at_clean_changes_no_bit(randn):
    z = randn()
    assert torch.equal(add_noise(z, randn(), CLEAN), z)


def test_add_noise_keeps_unit_variance(schedule):
    z, noise = torch.randn(2, 1, 4, 100, 100, generator=torch.Generator().manual_seed(0))
    assert add_noise(z, noise, schedule.level(400)).std().item() == pytest.approx(1, abs=0.02)


def test_add_noise_takes_the_square_roots():
    z, noise = torch.full((2, 1, 1, 1, 1), 1.0).unbind()
    assert add_noise(z, noise, Level(5.0, 0.36)).item() == pytest.approx(0.6 + 0.8)


def test_predict_x0_undoes_add_noise(schedule, randn):
    z, noise = randn(), randn()
    level = schedule.level(999)
    torch.testing.assert_close(
        predict_x0(add_noise(z, noise, level), noise, level), z, rtol=1e-12, atol=1e-12
    )
