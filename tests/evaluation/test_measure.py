import json

import pytest
import torch

from labml_sd.evaluation import (
    convergence,
    measure,
    report,
    sweeps,
)
from labml_sd.evaluation.draw_and_read import SamplingSettings
from labml_sd.evaluation.measure import PARTS, PLOT
from labml_sd.evaluation.results import FILE


@pytest.fixture
def small(measurement, monkeypatch):
    monkeypatch.setattr(sweeps, "SWEPT", ("ddim",))
    monkeypatch.setattr(sweeps, "STEPS", (1, 2))
    monkeypatch.setattr(sweeps, "GUIDANCE", (1.0, 2.0))
    monkeypatch.setattr(sweeps, "SAMPLERS", {"ddim": None})
    monkeypatch.setattr(sweeps, "GRID_STEPS", (1,))
    guidance = {"interval": SamplingSettings(steps=1, guidance_interval=(0.3, 5.0))}
    monkeypatch.setattr(sweeps, "guidance_settings", lambda: guidance)
    monkeypatch.setattr(convergence, "EVALUATIONS", (4, 8))
    monkeypatch.setattr(convergence, "COMPARED_AT", 4)
    monkeypatch.setattr(report, "COMPARED_AT", 4)
    monkeypatch.setattr(convergence, "EXACT_STEPS", 10)
    return measurement(n_prompts=2)


@pytest.mark.slow
def test_the_evaluation_writes_json_and_markdown(small, tmp_path):
    text = measure.measure(small, list(PARTS), tmp_path)
    assert (tmp_path / "evaluation.md").read_text(encoding="utf-8") == text
    results = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert list(results["parts"]) == list(PARTS)
    for part in results["parts"].values():
        assert part["settings"] == {"steps": 1, "sampler": "dpmpp_2m", "guidance_scale": 3.0}
        assert part["seconds"] >= 0 and "torch" in part["machine"] and "float" in part["dtype"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, "evaluation.md", PLOT]
    assert results["unfinished"] == {}


def test_a_part_alone_leaves_the_others_as_they_are(small, tmp_path, monkeypatch):
    for name in ("precision", "edits"):
        monkeypatch.setitem(
            PARTS, name, lambda m: {"dtype": "float32", "n_prompts": 1, "rows": {}}
        )
    monkeypatch.setattr(measure, "markdown", lambda results: ", ".join(results["parts"]))
    assert measure.measure(small, ["precision"], tmp_path) == "precision"
    assert measure.measure(small, ["edits"], tmp_path) == "precision, edits"


def test_an_interruption_loses_only_the_part_that_was_running(small, tmp_path, monkeypatch):
    def interrupted(m):
        raise KeyboardInterrupt

    monkeypatch.setitem(PARTS, "sweeps", interrupted)
    monkeypatch.setitem(
        PARTS, "precision", lambda m: {"dtype": "float32", "n_prompts": 1, "rows": {}}
    )
    with pytest.raises(KeyboardInterrupt):
        measure.measure(small, ["precision", "sweeps"], tmp_path)
    assert list(json.loads((tmp_path / FILE).read_text())["parts"]) == ["precision"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, "evaluation.md"]


@pytest.mark.parametrize(
    ("fast", "full", "dtype"),
    [
        (True, False, torch.bfloat16),
        (True, True, torch.float32),
        (False, False, torch.float32),
    ],
)
def test_sweeps_and_edits_run_in_bfloat16_only_if_it_is_fast_and_allowed(
    fast, full, dtype, measurement, tmp_path, monkeypatch
):
    drawn = {}
    for name in ("precision", "edits"):
        monkeypatch.setitem(
            PARTS,
            name,
            lambda m, name=name: drawn.update({name: m.model.dtype}) or {"rows": {}},
        )
    monkeypatch.setattr(measure, "markdown", lambda results: "")
    monkeypatch.setattr(measure, "fast_bfloat16", lambda device: fast)
    measure.measure(measurement(full_precision=full), ["precision", "edits"], tmp_path)
    assert drawn == {"precision": torch.float32, "edits": dtype}
