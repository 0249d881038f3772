import pytest
import torch

from labml_sd.evaluation import settings_rows as module
from labml_sd.evaluation.draw_and_read import Measurement, SamplingSettings
from labml_sd.evaluation.results import RowCache
from labml_sd.evaluation.settings_rows import contrast, measure_cost, settings_rows
from labml_sd.pipeline import txt2img

GUIDED = SamplingSettings(steps=1, guidance_scale=1.0)
TABLES = {
    "guidance": [GUIDED],
    "grid": [
        GUIDED,
        SamplingSettings(steps=1, sampler="ddim"),
        SamplingSettings(steps=2, sampler="heun"),
    ],
}


def test_passes_and_seconds_are_counted_inside_the_block_only(model, monkeypatch):
    monkeypatch.setattr(module.time, "process_time", iter((3.0, 5.0)).__next__)
    with measure_cost(model) as cost:
        txt2img(model, ["a", "b"], steps=3, guidance_scale=2.0, progress=False)
    txt2img(model, "a", steps=3, progress=False)
    assert cost == {"passes": 2 * 3 * 2, "seconds": 2.0}


def test_contrast_is_the_mean_standard_deviation_in_grey_levels():
    images = torch.tensor([-1.0, 1.0]).repeat(50).reshape(1, 1, 10, 10).expand(2, 3, 10, 10)
    assert contrast([images, 0 * images]) == pytest.approx(127.5 / 2, rel=0.01)


@pytest.fixture
def measure(measurement, monkeypatch):
    """Measures the rows, and counts the settings for which pictures are generated."""
    calls = []
    generate = Measurement.generate
    monkeypatch.setattr(Measurement, "generate", lambda *a: calls.append(a[2]) or generate(*a))

    def run(rows):
        calls.clear()
        m = measurement(rows=rows)
        return settings_rows(m, TABLES, n_prompts=3, n_open=2), len(calls)

    return run


def test_a_row_has_its_settings_accuracy_and_cost(measure):
    data, _ = measure(RowCache())
    _, first, second = data["rows"]["grid"]
    assert (first["sampler"], first["steps"], first["passes"]) == ("ddim", 1, 2)
    assert (second["sampler"], second["steps"], second["passes"]) == ("heun", 2, 2 * 3)
    assert first["mean"]["n"] == first["whole"]["n"] == data["n_prompts"] == 3
    assert 0.0 <= first["mean"]["low"] < first["mean"]["high"] <= 1.0
    assert "entropy" not in first


def test_a_row_of_guidance_has_diversity_and_contrast(measure):
    data, _ = measure(RowCache())
    (guidance,) = data["rows"]["guidance"]
    assert guidance["passes"] == 1 and guidance["contrast"] > 0
    assert {"distance", "entropy", "sky"} <= set(guidance)
    assert data["drawn by code"]["contrast"] > 10 and data["drawn by code"]["distance"] > 0


def test_equal_settings_are_measured_once(measure):
    data, n_drawn = measure(RowCache())
    assert n_drawn == 4  # three settings, one of them also for the open prompts
    assert data["rows"]["guidance"][0] == data["rows"]["grid"][0]


def test_what_was_measured_before_an_interruption_is_not_measured_again(measure):
    kept, known = [], {}
    first, _ = measure(RowCache(known, lambda: kept.append(len(known))))
    assert kept == [1, 2, 3]
    again, n_drawn = measure(RowCache(known))
    assert n_drawn == 0 and again == first
