r"""Accuracy and diversity at several guidance scales, step counts and samplers.

Maps       model, probe  ->  a row of numbers for each setting
Tests      tests/evaluation/test_sweeps.py
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from tqdm.auto import tqdm

from labml_sd.evaluation.compare_attributes import tally
from labml_sd.evaluation.diversity import OPEN_PROMPTS, diversity, open_scenes
from labml_sd.evaluation.draw_and_read import (
    GROUPS,
    SEED,
    Settings,
    Told,
    drawn,
    read,
    rendered,
)
from labml_sd.evaluation.frechet import Axes
from labml_sd.evaluation.probe import Probe
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.scenes import Scene

GUIDANCE = (1.0, 3.0, 5.0, 8.0)
STEPS = (5, 10, 20)
# One of each kind, of one evaluation a step; sampler_grid.py has all of them, and 50 steps, on
# fewer prompts.
SWEPT = ("ddim", "dpmpp_2m", "euler_a", "dpmpp_2m_sde")


def sweep_settings(usual: Settings) -> dict[str, list[Settings]]:
    """What is varied, one thing at a time from the usual settings."""
    return {
        "guidance": [replace(usual, guidance_scale=scale) for scale in GUIDANCE],
        "steps": [replace(usual, steps=steps) for steps in STEPS],
        "sampler": [replace(usual, sampler=name) for name in SWEPT],
    }


def mixed_scenes(n: int) -> list[Scene]:
    """`n` scenes to ask for: one object, two, a held-out pair, in turn."""
    groups = list(GROUPS.values())
    return [Scene.sample(SEED, index, *groups[index % len(groups)]) for index in range(n)]


def sweeps(
    model: LatentDiffusion,
    probe: Probe,
    axes: Axes,
    usual: Settings,
    *,
    n_prompts: int,
    n_open: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure every setting on `n_prompts` full captions, guidance also on `n_open` of each open prompt.

    Settings that are met twice are measured once. `n_open` is 2 or more.
    """
    rows = sweep_settings(usual)
    different = list(dict.fromkeys(s for settings in rows.values() for s in settings))
    n_pictures = len(different) * n_prompts + len(rows["guidance"]) * n_open * len(OPEN_PROMPTS)
    scenes = mixed_scenes(n_prompts)
    with tqdm(total=n_pictures, desc="sweeps", disable=not progress, dynamic_ncols=True) as bar:
        measured = {s: _accuracy(model, probe, s, scenes, bar.update) for s in different}
        for s in rows["guidance"]:
            measured[s] |= _diversity(model, probe, axes, s, n_open, bar.update)
    by_code = read(probe, rendered(open_scenes(n_open), model.config.image_size))
    return {
        "n_prompts": n_prompts,
        "n_open": n_open,
        "rows": {
            name: [asdict(s) | measured[s] for s in settings] for name, settings in rows.items()
        },
        "drawn by code": diversity(by_code, axes),
    }


def _accuracy(
    model: LatentDiffusion,
    probe: Probe,
    settings: Settings,
    scenes: Sequence[Scene],
    told: Told,
) -> dict[str, Any]:
    """How often the pictures of one setting show what was asked for."""
    captions = [scene.caption(full=True) for scene in scenes]
    shares = tally(
        list(scenes), read(probe, drawn(model, captions, settings, told=told)).scenes
    )
    return {name: shares[name].as_data() for name in ("mean", "whole")}


def _diversity(
    model: LatentDiffusion,
    probe: Probe,
    axes: Axes,
    settings: Settings,
    n_open: int,
    told: Told,
) -> dict[str, float]:
    """How much they differ where the prompt leaves things open."""
    prompts = [prompt for prompt in OPEN_PROMPTS for _ in range(n_open)]
    return diversity(read(probe, drawn(model, prompts, settings, told=told)), axes)
