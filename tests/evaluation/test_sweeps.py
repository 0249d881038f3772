from labml_sd.evaluation import sweeps as module
from labml_sd.evaluation.draw_and_read import SamplingSettings
from labml_sd.evaluation.sweeps import SWEPT, sweep_settings, sweeps
from labml_sd.sampler import SAMPLERS


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
