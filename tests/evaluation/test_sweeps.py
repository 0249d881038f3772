import pytest

from labml_sd.evaluation import sweeps as module
from labml_sd.evaluation.draw_and_read import SamplingSettings
from labml_sd.evaluation.settings_rows import measure_cost
from labml_sd.evaluation.sweeps import (
    SWEPT,
    grid_settings,
    guidance_settings,
    sampler_grid,
    sweep_settings,
    sweeps,
)
from labml_sd.pipeline import txt2img
from labml_sd.sampler import SAMPLERS, Guidance


def test_one_thing_is_varied_at_a_time():
    rows = sweep_settings(SamplingSettings(guidance_scale=3.0))
    assert [s.guidance_scale for s in rows["guidance"]] == [1.0, 3.0, 5.0, 8.0]
    assert [s.steps for s in rows["steps"]] == [5, 10, 20]
    assert [s.sampler for s in rows["sampler"]] == list(SWEPT)
    assert {SAMPLERS[name]().evaluations_per_step for name in SWEPT} == {1}
    assert all(SamplingSettings(guidance_scale=3.0) in settings for settings in rows.values())


def test_every_setting_has_a_row_on_a_fifth_of_the_prompts(measurement, monkeypatch):
    one = SamplingSettings(steps=1, guidance_scale=3.0)
    tables = {"guidance": [one], "steps": [one], "sampler": [one]}
    monkeypatch.setattr(module, "sweep_settings", lambda usual: tables)
    data = sweeps(measurement(n_prompts=15))
    assert data["n_prompts"] == 3 and data["n_open"] == 2
    assert [len(rows) for rows in data["rows"].values()] == [1, 1, 1]


def test_every_sampler_is_measured_at_every_count():
    settings = grid_settings()
    assert {(s.sampler, s.steps) for s in settings} == {
        (n, c) for n in SAMPLERS for c in (5, 10, 20, 50)
    }
    assert len(settings) == 4 * len(SAMPLERS)


def test_the_scale_that_runs_both_passes_guides_as_scale_1(model):
    one, both = (guidance_settings()[name] for name in ("1", "1, both passes"))
    counted = {}
    for s in (one, both):
        with measure_cost(model) as spent:
            images = txt2img(
                model, "a", steps=2, guidance_scale=s.guidance_scale, progress=False
            )
        counted[s.guidance_scale] = spent["passes"], images[0].tobytes()
    assert counted[1.0][0] == 2 and counted[both.guidance_scale][0] == 4
    assert Guidance(both.guidance_scale).scale == pytest.approx(1, abs=1e-8)


def test_the_interval_leaves_out_the_first_five_and_the_last_of_20_levels(model):
    low, high = module.INTERVAL
    sigmas = [level.sigma for level in SAMPLERS["dpmpp_2m"]().levels(model.schedule, 20)[:-1]]
    assert [low <= sigma <= high for sigma in sigmas] == [False] * 5 + [True] * 14 + [False]


def test_the_variants_of_guidance_keep_their_names(measurement, monkeypatch):
    one = SamplingSettings(steps=1)
    monkeypatch.setattr(module, "grid_settings", lambda: [one])
    monkeypatch.setattr(module, "guidance_settings", lambda: {"usual": one, "again": one})
    rows = sampler_grid(measurement(n_prompts=1))["rows"]
    assert list(rows["guidance"]) == ["usual", "again"] and len(rows["grid"]) == 1
