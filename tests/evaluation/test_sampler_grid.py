import pytest
import torch

from labml_sd.evaluation import sampler_grid as module
from labml_sd.evaluation.draw_and_read import SamplingSettings
from labml_sd.evaluation.frechet import Axes
from labml_sd.evaluation.probe import Probe, ProbeRecipe
from labml_sd.evaluation.results import RowCache
from labml_sd.evaluation.sampler_grid import (
    contrast,
    grid_settings,
    guidance_settings,
    measure_cost,
    sampler_grid,
)
from labml_sd.pipeline import txt2img
from labml_sd.sampler import SAMPLERS, Guidance


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
        counted[s.guidance_scale] = spent.passes, images[0].tobytes()
    assert counted[1.0][0] == 2 and counted[both.guidance_scale][0] == 4
    assert Guidance(both.guidance_scale).scale == pytest.approx(1, abs=1e-8)


def test_the_interval_leaves_out_the_first_five_and_the_last_of_20_levels(model):
    low, high = module.INTERVAL
    sigmas = [level.sigma for level in SAMPLERS["dpmpp_2m"]().levels(model.schedule, 20)[:-1]]
    assert [low <= sigma <= high for sigma in sigmas] == [False] * 5 + [True] * 14 + [False]


def test_effort_is_counted_inside_the_block_only(model, monkeypatch):
    monkeypatch.setattr(module.time, "process_time", iter((3.0, 5.0)).__next__)
    with measure_cost(model) as spent:
        txt2img(model, ["a", "b"], steps=3, guidance_scale=2.0, progress=False)
    txt2img(model, "a", steps=3, progress=False)
    assert spent.passes == 2 * 3 * 2 and spent.seconds == 2.0


def test_contrast_is_the_standard_deviation_in_grey_levels():
    images = torch.tensor([-1.0, 1.0]).repeat(50).reshape(1, 1, 10, 10).expand(2, 3, 10, 10)
    assert contrast(images) == pytest.approx([127.5, 127.5], rel=0.01)


@pytest.fixture
def measure(model, monkeypatch):
    """Measures two cells and one kind of guidance, and tells which settings were drawn."""
    few = SamplingSettings(steps=1, sampler="ddim"), SamplingSettings(steps=2, sampler="heun")
    monkeypatch.setattr(module, "grid_settings", lambda: list(few))
    monkeypatch.setattr(
        module,
        "guidance_settings",
        lambda: {"1": SamplingSettings(steps=1, guidance_scale=1.0)},
    )
    calls = []
    generate = module.generate
    monkeypatch.setattr(
        module, "generate", lambda m, p, s, **k: calls.append(s) or generate(m, p, s, **k)
    )
    torch.manual_seed(0)
    probe = Probe(ProbeRecipe(grid=16, channels=8, d_features=6)).eval()
    axes = Axes(torch.zeros(6, dtype=torch.float64), torch.eye(6, dtype=torch.float64))

    def run(rows):
        calls.clear()
        return sampler_grid(
            model, probe, axes, rows, n_prompts=3, n_open=2, progress=False
        ), len(calls)

    return run


def test_a_row_has_its_settings_accuracy_and_cost(measure):
    data, _ = measure(RowCache())
    first, second = data["rows"]["grid"]
    assert (first["sampler"], first["steps"], first["passes"]) == ("ddim", 1, 2)
    assert (second["sampler"], second["steps"], second["passes"]) == ("heun", 2, 2 * 3)
    assert first["mean"]["n"] == first["whole"]["n"] == data["n_prompts"] == 3
    guidance = data["rows"]["guidance"]["1"]
    assert guidance["passes"] == 1 and guidance["contrast"] > 0 and guidance["entropy"] >= 0
    assert data["drawn by code"]["contrast"] > 10


def test_what_was_measured_before_an_interruption_is_not_measured_again(measure):
    kept, known = [], {}
    rows = RowCache(known, lambda: kept.append(len(known)))
    first, n_drawn = measure(rows)
    assert (
        kept == [1, 2, 3] and n_drawn == 4
    )  # guidance is drawn twice, the open prompts as well
    again, n_drawn = measure(RowCache(known))
    assert n_drawn == 0 and again == first
