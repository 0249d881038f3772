from functools import cache
from itertools import pairwise

import pytest
import torch

import labml_sd as sd
from labml_sd.evaluation import convergence as module
from labml_sd.evaluation.convergence import (
    ODE,
    SPACINGS,
    Solver,
    convergence,
    evaluations,
    levels_to_zero,
    rms,
    steps_for,
)
from labml_sd.evaluation.draw_and_read import mixed_scenes
from labml_sd.evaluation.results import RowCache
from labml_sd.sampler import SAMPLERS


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", ODE)
def test_all_start_at_the_noisiest_level_and_end_at_time_0(model, name, spacing):
    for n_steps in (1, 4, 20, 99, 900):
        _, levels = levels_to_zero(name, spacing, model.schedule, n_steps)
        assert len(levels) == n_steps + 1
        assert (levels[0].t, levels[-1].t) == (999, 0)
        assert levels[0].alpha_bar == model.schedule.level(999).alpha_bar
        assert levels[-1].alpha_bar == model.schedule.level(0).alpha_bar
        assert all(here.alpha_bar < there.alpha_bar for here, there in pairwise(levels))


def test_a_run_through_every_level_takes_one_step_between_each_two(model):
    _, levels = levels_to_zero("dpmpp_2m", "trailing", model.schedule, 999)
    assert [level.t for level in levels] == list(range(999, -1, -1))


def test_all_samplers_that_draw_no_noise_are_compared():
    drawing = {
        "ddpm",
        "euler_a",
        "dpm_2_a",
        "dpmpp_2s_a",
        "dpmpp_sde",
        "dpmpp_2m_sde",
        "dpmpp_3m_sde",
    }
    assert set(ODE) == set(SAMPLERS) - drawing


@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("name", ODE)
def test_the_evaluations_are_those_meant_or_one_less(model, name, n):
    solve, asked = Solver(model, ["a house"], 3.0), []
    denoise = solve.denoise
    solve.denoise = lambda x, moment: asked.append(moment) or denoise(x, moment)
    z = solve(name, "trailing", steps_for(name, n))
    assert len(asked) == evaluations(name, steps_for(name, n)) and z.isfinite().all()
    assert n - 1 <= len(asked) <= n


def test_the_root_mean_square_is_over_all_pictures():
    assert rms(torch.tensor([3.0, 4.0]).reshape(2, 1, 1, 1)) == pytest.approx(12.5**0.5)


@pytest.mark.slow
def test_every_point_is_measured_once_and_kept(measurement, monkeypatch):
    monkeypatch.setattr(module, "EVALUATIONS", (4,))
    monkeypatch.setattr(module, "COMPARED_AT", 4)
    monkeypatch.setattr(module, "EXACT_STEPS", 40)
    known = {}
    data = convergence(measurement(rows=RowCache(known), n_prompts=1))
    assert len(data["rows"]) == len(known) == len(ODE) * len(SPACINGS)
    assert {(r["sampler"], r["spacing"]) for r in data["rows"]} == {
        (n, s) for n in ODE for s in SPACINGS
    }
    assert all(row["rms"] > 0 and row["meant"] == 4 for row in data["rows"])
    assert data["check"]["rms"] < min(row["rms"] for row in data["rows"]) < data["exact"]["rms"]
    monkeypatch.setattr(
        module, "steps_for", lambda *key: pytest.fail(f"{key} is measured again")
    )
    assert convergence(measurement(rows=RowCache(known), n_prompts=1)) == data


@pytest.fixture(scope="module")
def error_on_the_bundled_model():
    """The error of (sampler, evaluations) with Karras' spacing, each run once."""
    scenes = mixed_scenes(2)
    solve = Solver(
        sd.load_model(device="cpu", dtype="float32"),
        [s.caption(full=True) for s in scenes],
        3.0,
    )
    exact = solve("dpmpp_2m", "karras", 80)
    return cache(lambda name, n: rms(solve(name, "karras", steps_for(name, n)) - exact))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
def test_on_the_bundled_model_the_error_falls_with_the_evaluations(
    error_on_the_bundled_model, name
):
    few, some, many = (error_on_the_bundled_model(name, n) for n in (5, 10, 20))
    assert few > 1.5 * some > 1.5**2 * many


@pytest.mark.slow
def test_on_the_bundled_model_dpmpp_2m_has_a_fifth_of_the_error_of_ddim(
    error_on_the_bundled_model,
):
    # At 20 evaluations with Karras' spacing. With the usual spacing it is more: the last of 20
    # steps leads from sigma 0.23 to 0.03.
    ddim, dpmpp_2m = (error_on_the_bundled_model(name, 20) for name in ("ddim", "dpmpp_2m"))
    assert dpmpp_2m <= ddim / 5
