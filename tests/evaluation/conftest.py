"""An untrained probe, and a measurement of the small model with it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from labml_sd.evaluation import evaluate
from labml_sd.evaluation.draw_and_read import Measurement, SamplingSettings
from labml_sd.evaluation.probe import Probe, ProbeRecipe


@pytest.fixture(scope="session")
def probe() -> Probe:
    torch.manual_seed(0)
    recipe = ProbeRecipe(
        n_steps=2, batch_size=4, image_size=32, grid=16, channels=8, d_features=6
    )
    return Probe(recipe).eval().requires_grad_(False)


@pytest.fixture
def measurement(model, probe, monkeypatch) -> Callable[..., Measurement]:
    """Makes one: `measurement(n_prompts=5)`."""
    monkeypatch.setattr(evaluate, "N_FOR_AXES", 32)

    def make(**others: Any) -> Measurement:
        usual = {"model": model, "probe": probe, "settings": SamplingSettings(steps=1)}
        return Measurement(**usual | {"progress": False} | others)

    return make
