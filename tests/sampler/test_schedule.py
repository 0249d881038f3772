import math

import pytest
import torch
from diffusers import DDIMScheduler

from labml_sd.config import ScheduleConfig
from labml_sd.errors import GenerationError
from labml_sd.sampler import CLEAN, Level, Schedule, add_noise, predict_x0
from labml_sd.sampler.schedule import NEARLY_ZERO

GOLDEN_ALPHA_BAR = {
    1: 0.9982960278384514,
    21: 0.9803807481013713,
    501: 0.2749990668501319,
    981: 0.005775500139495751,
    999: 0.004660098513077238,
}


@pytest.mark.holds("labml_sd.sampler.schedule.Schedule")
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


@pytest.mark.holds("labml_sd.sampler.schedule.Schedule", "fact: schedule")
def test_the_tables_are_the_two_equations(schedule):
    first, last, alpha_bar = math.sqrt(0.00085), math.sqrt(0.012), 1.0
    for t in range(1000):
        beta = (first + t / 999 * (last - first)) ** 2
        alpha_bar *= 1 - beta
        assert schedule.beta[t].item() == pytest.approx(beta, rel=1e-12)
        assert schedule.alpha_bar[t].item() == pytest.approx(alpha_bar, rel=1e-12)


@pytest.mark.holds("fact: schedule")
def test_tables_are_float64_on_the_cpu_also_inside_a_meta_device_context():
    with torch.device("meta"):
        schedule = Schedule(ScheduleConfig())
    for table in (schedule.beta, schedule.alpha_bar, schedule.log_sigma):
        assert (table.dtype, table.device.type) == (torch.float64, "cpu")


def test_a_schedule_may_have_another_length():
    schedule = Schedule(ScheduleConfig(n_steps=10))
    assert schedule.n_steps == len(schedule.alpha_bar) == 10


def test_between_two_whole_times_log_sigma_is_linear(schedule):
    low, middle, high = (schedule.level(t).half_log_snr for t in (640, 640.25, 641))
    assert middle == pytest.approx(0.75 * low + 0.25 * high, rel=1e-12)


@pytest.mark.parametrize("t", [999, 640.25, 0.5, 0])
def test_at_sigma_is_the_level_of_the_time_that_has_it(schedule, t):
    level = schedule.level(t)
    found = schedule.at_sigma(level.sigma)
    assert (found.t, found.alpha_bar) == pytest.approx((t, level.alpha_bar), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("sigma", "t"), [(100.0, 999), (0.001, 0), (1e-12, 0)])
def test_at_sigma_keeps_sigma_beyond_the_schedules_ends_and_t_stays(schedule, sigma, t):
    level = schedule.at_sigma(sigma)
    assert level.t == t and level.alpha_bar == 1 / (1 + sigma**2)


def test_at_sigma_zero_is_clean(schedule):
    assert schedule.at_sigma(0) == CLEAN


def test_at_sigma_of_even_times_is_k_diffusions_list(schedule):
    sigmas = [schedule.level(t).sigma for t in (999, 749.25, 499.5, 249.75, 0)]
    assert sigmas == pytest.approx([14.6146, 4.0861, 1.6156, 0.6951, 0.0292], abs=5e-5)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_a_sigma_out_of_range_is_refused_in_one_line(schedule, sigma):
    with pytest.raises(
        GenerationError, match=r"^sigma is .*; give a finite number, 0 \(clean\) or above$"
    ):
        schedule.at_sigma(sigma)


@pytest.mark.parametrize("t", [-1, -0.5, 999.5, 1000, float("nan")])
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
    assert (CLEAN.t, CLEAN.alpha_bar, CLEAN.sigma, CLEAN.half_log_snr) == (
        0.0,
        1.0,
        0.0,
        math.inf,
    )


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


@pytest.mark.holds("labml_sd.sampler.schedule.zero_terminal_snr")
def test_a_schedule_of_zero_snr_keeps_its_first_level_and_ends_in_pure_noise():
    plain = Schedule(ScheduleConfig()).alpha_bar
    found = Schedule(ScheduleConfig(zero_snr=True)).alpha_bar
    root, first, last = plain.sqrt(), plain[0].sqrt(), plain[-1].sqrt()
    expected = (first * (root - last) / (first - last)) ** 2
    torch.testing.assert_close(found[:-1], expected[:-1])
    assert found[0] == pytest.approx(plain[0].item(), rel=1e-12)
    assert found[-1] == NEARLY_ZERO
    assert (found.diff() < 0).all()


def test_a_schedule_of_zero_snr_is_diffusers():
    theirs = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True, prediction_type="v_prediction",
    ).alphas_cumprod.double()  # fmt: skip
    ours = Schedule(ScheduleConfig(zero_snr=True)).alpha_bar
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
