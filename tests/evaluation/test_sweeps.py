import pytest
import torch

from labml_sd.evaluation import sweeps as module
from labml_sd.evaluation.draw_and_read import SamplingSettings
from labml_sd.evaluation.frechet import Axes
from labml_sd.evaluation.probe import Probe, ProbeRecipe
from labml_sd.evaluation.sweeps import SWEPT, mixed_scenes, sweep_settings, sweeps
from labml_sd.sampler import SAMPLERS

USUAL = SamplingSettings(steps=1, guidance_scale=3.0)


def test_one_thing_is_varied_at_a_time():
    rows = sweep_settings(SamplingSettings(guidance_scale=3.0))
    assert [s.guidance_scale for s in rows["guidance"]] == [1.0, 3.0, 5.0, 8.0]
    assert [s.steps for s in rows["steps"]] == [5, 10, 20]
    assert [s.sampler for s in rows["sampler"]] == list(SWEPT)
    assert {SAMPLERS[name]().evaluations_per_step for name in SWEPT} == {1}
    assert all(SamplingSettings(guidance_scale=3.0) in settings for settings in rows.values())


def test_the_three_kinds_of_prompts_take_turns():
    scenes = mixed_scenes(6)
    assert [len(scene.objects) for scene in scenes] == [1, 2, 1, 1, 2, 1]


@pytest.fixture(scope="module")
def measured(model):
    torch.manual_seed(0)
    probe = Probe(ProbeRecipe(grid=16, channels=8, d_features=6)).eval()
    axes = Axes(torch.zeros(6, dtype=torch.float64), torch.eye(6, dtype=torch.float64))
    calls: list[SamplingSettings] = []
    rows = {
        "guidance": [USUAL, SamplingSettings(steps=1, guidance_scale=1.0)],
        "steps": [USUAL],
        "sampler": [USUAL],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "sweep_settings", lambda usual: rows)
        row = module._accuracy
        patch.setattr(module, "_accuracy", lambda *a: (calls.append(a[2]), row(*a))[1])
        data = sweeps(model, probe, axes, USUAL, n_prompts=3, n_open=2, progress=False)
    return data, calls


def test_every_row_has_its_settings_and_accuracy_and_those_of_guidance_diversity(measured):
    for row in (row for rows in measured[0]["rows"].values() for row in rows):
        assert {"steps", "sampler", "guidance_scale", "mean", "whole"} <= set(row)
        assert row["mean"]["n"] == 3 and 0.0 <= row["mean"]["low"] < row["mean"]["high"] <= 1.0
    for row in measured[0]["rows"]["guidance"]:
        assert {"distance", "entropy", "sky"} <= set(row)
    assert measured[0]["drawn by code"]["distance"] > 0.0


def test_settings_met_twice_are_measured_once(measured):
    data, calls = measured
    assert len(calls) == 2
    assert data["rows"]["guidance"][0] == data["rows"]["steps"][0]
