r"""Measures accuracy and diversity for several guidance scales, step counts and samplers.

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
    OnProgress,
    SamplingSettings,
    draw_scenes,
    generate,
    read_batches,
)
from labml_sd.evaluation.frechet import Axes
from labml_sd.evaluation.probe import Probe
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.scenes import Scene

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


def mixed_scenes(n: int) -> list[Scene]:
    """`n` scenes: one object, two objects, a held-out pair, in turn."""
    groups = list(GROUPS.values())
    return [Scene.sample(SEED, index, *groups[index % len(groups)]) for index in range(n)]


def sweeps(
    model: LatentDiffusion,
    probe: Probe,
    axes: Axes,
    usual: SamplingSettings,
    *,
    n_prompts: int,
    n_open: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure every setting on `n_prompts` full captions, and guidance also on open prompts.

    Each open prompt has `n_open` pictures, at least 2. Equal settings are measured once.
    """
    rows = sweep_settings(usual)
    different = list(dict.fromkeys(s for settings in rows.values() for s in settings))
    n_pictures = len(different) * n_prompts + len(rows["guidance"]) * n_open * len(OPEN_PROMPTS)
    scenes = mixed_scenes(n_prompts)
    with tqdm(total=n_pictures, desc="sweeps", disable=not progress, dynamic_ncols=True) as bar:
        measured = {s: _accuracy(model, probe, s, scenes, bar.update) for s in different}
        for s in rows["guidance"]:
            measured[s] |= _diversity(model, probe, axes, s, n_open, bar.update)
    by_code = read_batches(probe, draw_scenes(open_scenes(n_open), model.config.image_size))
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
    settings: SamplingSettings,
    scenes: Sequence[Scene],
    on_progress: OnProgress,
) -> dict[str, Any]:
    """The shares of right attributes for one setting."""
    captions = [scene.caption(full=True) for scene in scenes]
    pictures = generate(model, captions, settings, on_progress=on_progress)
    shares = tally(list(scenes), read_batches(probe, pictures).scenes)
    return {name: shares[name].as_data() for name in ("mean", "whole")}


def _diversity(
    model: LatentDiffusion,
    probe: Probe,
    axes: Axes,
    settings: SamplingSettings,
    n_open: int,
    on_progress: OnProgress,
) -> dict[str, float]:
    """The diversity of pictures of open prompts for one setting."""
    prompts = [prompt for prompt in OPEN_PROMPTS for _ in range(n_open)]
    pictures = generate(model, prompts, settings, on_progress=on_progress)
    return diversity(read_batches(probe, pictures), axes)
