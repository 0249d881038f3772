r"""Measures how right, how costly and how diverse the pictures of some settings are.

Maps       model, probe, settings  ->  a row of numbers
Tests      tests/evaluation/test_settings_rows.py
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.evaluation.compare_attributes import tally
from labml_sd.evaluation.diversity import OPEN_PROMPTS, diversity, open_scenes
from labml_sd.evaluation.draw_and_read import (
    Measurement,
    SamplingSettings,
    eight_bit,
    mixed_scenes,
)
from labml_sd.evaluation.evaluate import scene_axes
from labml_sd.evaluation.frechet import Axes
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.tiny.scenes import Scene


@contextmanager
def measure_cost(model: LatentDiffusion) -> Iterator[dict[str, float]]:
    """Measure the cost of what the model computes inside the `with` block.

    `passes`: latents through the U-Net; a guided evaluation is two. `seconds`: processor time
    of this process, so other processes do not count.
    """
    cost = {"passes": 0.0, "seconds": 0.0}

    def count(_: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        cost["passes"] += len(arguments[2])  # one latent for each row of cond

    handle, started = model.unet.register_forward_pre_hook(count), time.process_time()
    try:
        yield cost
    finally:
        handle.remove()
        cost["seconds"] = time.process_time() - started


def contrast(batches: Sequence[Float[Tensor, "b 3 h w"]]) -> float:
    """The standard deviation of a picture's values in grey levels, averaged over pictures."""
    return fmean(float(c) for images in batches for c in 127.5 * images.flatten(1).std(dim=1))


def settings_row(
    m: Measurement,
    scenes: Sequence[Scene],
    axes: Axes,
    settings: SamplingSettings,
    n_open: int = 0,
) -> dict[str, Any]:
    """The settings, shares of right attributes for full captions, contrast, cost of a picture.

    `n_open` > 0: also the diversity of so many pictures of each open prompt. A row that is in
    `m.rows` is not measured again.
    """

    def make() -> dict[str, Any]:
        captions = [scene.caption(full=True) for scene in scenes]
        with measure_cost(m.model) as cost:
            batches = list(m.generate(captions, settings))
        shares = tally(scenes, m.read(batches).scenes)
        row = {"mean": shares["mean"], "whole": shares["whole"], "contrast": contrast(batches)}
        row |= {name: value / len(captions) for name, value in cost.items()}
        if n_open:
            prompts = [prompt for prompt in OPEN_PROMPTS for _ in range(n_open)]
            row |= diversity(m.read(m.generate(prompts, settings)), axes)
        return row

    about = asdict(settings)
    counts = {"n_prompts": len(scenes), "n_open": n_open, "dtype": str(m.model.dtype)}
    return about | m.rows.row(json.dumps(about | counts), make)


def settings_rows(
    m: Measurement,
    tables: Mapping[str, Sequence[SamplingSettings]],
    *,
    n_prompts: int,
    n_open: int,
) -> dict[str, Any]:
    """A row for each of the settings, on `n_prompts` full captions.

    Those of the table `guidance` are also measured on `n_open` pictures of each open prompt, at
    least 2. Equal settings are measured once.
    """
    n_different = len({s for settings in tables.values() for s in settings})
    n_pictures = len(tables["guidance"]) * n_open * len(OPEN_PROMPTS)
    m.bar.reset(total=n_different * n_prompts + n_pictures)
    scenes, axes = mixed_scenes(n_prompts), scene_axes(m)
    rows = {
        name: [
            settings_row(m, scenes, axes, s, n_open if s in tables["guidance"] else 0)
            for s in settings
        ]
        for name, settings in tables.items()
    }
    by_code = diversity(m.read(m.draw(open_scenes(n_open))), axes)
    by_code["contrast"] = contrast([eight_bit(images) for images in m.draw(scenes)])
    return {"n_prompts": n_prompts, "n_open": n_open, "rows": rows, "drawn by code": by_code}
