r"""The settings whose pictures are compared: guidance, step counts, samplers.

Maps       model, probe  ->  a row of numbers for each setting
Paper      Lin et al. 2023, arXiv:2305.08891 (rescale)
           Kynkäänniemi et al. 2024, arXiv:2404.07724 (interval)
Tests      tests/evaluation/test_sweeps.py
"""

from dataclasses import replace
from typing import Any

from labml_sd.evaluation.draw_and_read import Measurement, SamplingSettings
from labml_sd.evaluation.settings_rows import settings_rows
from labml_sd.sampler import SAMPLERS

GUIDANCE = (1.0, 3.0, 5.0, 8.0)
STEPS = (5, 10, 20)
# One sampler of each kind, with one evaluation a step. The grid has all samplers, on fewer
# prompts.
SWEPT = ("ddim", "dpmpp_2m", "euler_a", "dpmpp_2m_sde")
GRID_STEPS = (5, 10, 20, 50)
SCALES = (3.0, 8.0)
RESCALE = 0.7  # as in Lin et al.
INTERVAL = (0.3, 5.0)  # sigmas; excludes the first five and the last of 20 steps
BOTH_PASSES = 1 + 1e-9  # equivalent to scale 1, but runs the unconditional pass too


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


def grid_settings() -> list[SamplingSettings]:
    """Every sampler at every step count, at the model's default guidance scale."""
    return [
        SamplingSettings(sampler=name, steps=steps) for steps in GRID_STEPS for name in SAMPLERS
    ]


def guidance_settings() -> dict[str, SamplingSettings]:
    """The variants of guidance, at 20 steps of the default sampler."""
    found: dict[str, SamplingSettings] = {}
    for scale in SCALES:
        plain = SamplingSettings(guidance_scale=scale)
        found |= {
            f"{scale:g}": plain,
            f"{scale:g}, rescale {RESCALE:g}": replace(plain, guidance_rescale=RESCALE),
            f"{scale:g}, interval": replace(plain, guidance_interval=INTERVAL),
        }
    return found | {
        "1": SamplingSettings(guidance_scale=1.0),
        "1, both passes": SamplingSettings(guidance_scale=BOTH_PASSES),
    }


def sampler_grid(m: Measurement) -> dict[str, Any]:
    """Every sampler at several step counts, and the variants of guidance by name."""
    named = guidance_settings()
    tables = {"guidance": list(named.values()), "grid": grid_settings()}
    data = settings_rows(m, tables, n_prompts=m.share(25), n_open=m.share(125, 2))
    data["rows"]["guidance"] = dict(zip(named, data["rows"]["guidance"], strict=True))
    return data
