r"""Measures accuracy and diversity for several guidance scales, step counts and samplers.

Maps       model, probe  ->  a row of numbers for each setting
Tests      tests/evaluation/test_sweeps.py
"""

from dataclasses import replace
from typing import Any

from labml_sd.evaluation.draw_and_read import Measurement, SamplingSettings
from labml_sd.evaluation.settings_rows import settings_rows

GUIDANCE = (1.0, 3.0, 5.0, 8.0)
STEPS = (5, 10, 20)
# One sampler of each kind, with one evaluation a step. sampler_grid.py measures all samplers on
# fewer prompts.
SWEPT = ("ddim", "dpmpp_2m", "euler_a", "dpmpp_2m_sde")


def sweep_settings(usual: SamplingSettings) -> dict[str, list[SamplingSettings]]:
    """Settings that differ from the usual ones in one value."""
    return {
        "guidance": [replace(usual, guidance_scale=scale) for scale in GUIDANCE],
        "steps": [replace(usual, steps=steps) for steps in STEPS],
        "sampler": [replace(usual, sampler=name) for name in SWEPT],
    }


def sweeps(m: Measurement) -> dict[str, Any]:
    """Accuracy and diversity by guidance scale, steps and sampler."""
    tables = sweep_settings(m.settings)
    return settings_rows(m, tables, n_prompts=m.share(5), n_open=m.share(62, 2))
