r"""Measures every sampler at several step counts, and guidance with a rescale or an interval.

Maps       model, probe  ->  a row of numbers for each setting
Paper      Lin et al. 2023, arXiv:2305.08891 (rescale)
           Kynkäänniemi et al. 2024, arXiv:2404.07724 (interval)
Tests      tests/evaluation/test_sampler_grid.py
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.compare_attributes import tally
from labml_sd.evaluation.diversity import OPEN_PROMPTS, diversity, open_scenes
from labml_sd.evaluation.draw_and_read import (
    OnProgress,
    SamplingSettings,
    draw_scenes,
    eight_bit,
    generate,
    read_batches,
)
from labml_sd.evaluation.frechet import Axes
from labml_sd.evaluation.probe import Probe
from labml_sd.evaluation.results import RowCache
from labml_sd.evaluation.sweeps import mixed_scenes
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import SAMPLERS
from labml_sd.tiny.scenes import Scene

STEPS = (5, 10, 20, 50)
SCALES = (3.0, 8.0)
RESCALE = 0.7  # as in Lin et al.
INTERVAL = (0.3, 5.0)  # sigmas; excludes the first five and the last of 20 steps
BOTH_PASSES = 1 + 1e-9  # equivalent to scale 1, but runs the unconditional pass too


def grid_settings() -> list[SamplingSettings]:
    """Every sampler at every step count, at the model's default guidance scale."""
    return [SamplingSettings(sampler=name, steps=steps) for steps in STEPS for name in SAMPLERS]


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


@dataclass
class Cost:
    """What generating pictures costs."""

    passes: int = 0  # latents through the U-Net; a guided evaluation is two
    seconds: float = 0.0  # processor time of this process, so other processes do not count


@contextmanager
def measure_cost(model: LatentDiffusion) -> Iterator[Cost]:
    """Measure the cost of what the model computes inside the `with` block."""
    cost = Cost()

    def count(_: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        cost.passes += len(arguments[2])  # one latent for each row of cond

    handle, started = model.unet.register_forward_pre_hook(count), time.process_time()
    try:
        yield cost
    finally:
        handle.remove()
        cost.seconds = time.process_time() - started


@dataclass(frozen=True)
class Grid:
    """What is needed to measure a row."""

    model: LatentDiffusion
    probe: Probe
    axes: Axes
    rows: RowCache
    scenes: Sequence[Scene]
    n_open: int
    on_progress: OnProgress

    def accuracy(
        self, settings: SamplingSettings, contrasts: list[float] | None = None
    ) -> dict[str, Any]:
        """The share of right attributes for full captions, and the cost of a picture."""
        captions = [scene.caption(full=True) for scene in self.scenes]
        with measure_cost(self.model) as cost:
            batches = list(
                generate(self.model, captions, settings, on_progress=self.on_progress)
            )
        if contrasts is not None:
            contrasts += [c for images in batches for c in contrast(images)]
        shares = tally(list(self.scenes), read_batches(self.probe, batches).scenes)
        return {name: shares[name].as_data() for name in ("mean", "whole")} | {
            "passes": cost.passes / len(captions),
            "seconds": cost.seconds / len(captions),
        }

    def guidance(self, settings: SamplingSettings) -> dict[str, Any]:
        """Accuracy and contrast for full captions, diversity for open prompts."""
        contrasts: list[float] = []
        right = self.accuracy(settings, contrasts)
        prompts = [prompt for prompt in OPEN_PROMPTS for _ in range(self.n_open)]
        pictures = generate(self.model, prompts, settings, on_progress=self.on_progress)
        mean_contrast = {"contrast": math.fsum(contrasts) / len(contrasts)}
        return right | mean_contrast | diversity(read_batches(self.probe, pictures), self.axes)

    def cached(
        self, settings: SamplingSettings, make: Callable[[SamplingSettings], dict[str, Any]]
    ) -> dict[str, Any]:
        """A row with its settings, from the cache if an earlier call measured it."""
        about = asdict(settings)
        counts = {
            "n_prompts": len(self.scenes),
            "dtype": str(self.model.dtype),
            "of": make.__name__,
        }
        if make == self.guidance:
            counts["n_open"] = self.n_open
        return about | self.rows.row(json.dumps(about | counts), lambda: make(settings))


def contrast(images: Float[Tensor, "b 3 h w"]) -> list[float]:
    """The contrast of each picture: the standard deviation of its values, in grey levels."""
    return [float(c) for c in 127.5 * images.flatten(1).std(dim=1)]


def sampler_grid(
    model: LatentDiffusion,
    probe: Probe,
    axes: Axes,
    rows: RowCache,
    *,
    n_prompts: int,
    n_open: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure every setting on `n_prompts` full captions, and guidance also on open prompts.

    `n_open` is at least 2. Rows that are in `rows` are not measured again.
    """
    guidance, settings = guidance_settings(), grid_settings()
    total = n_prompts * (len(settings) + len(guidance)) + n_open * len(OPEN_PROMPTS) * len(
        guidance
    )
    scenes = mixed_scenes(n_prompts)
    with tqdm(total=total, desc="samplers", disable=not progress, dynamic_ncols=True) as bar:
        grid = Grid(model, probe, axes, rows, scenes, n_open, bar.update)
        measured = {
            "guidance": {name: grid.cached(s, grid.guidance) for name, s in guidance.items()},
            "grid": [grid.cached(s, grid.accuracy) for s in settings],
        }
    return {
        "n_prompts": n_prompts,
        "n_open": n_open,
        "rows": measured,
        "drawn by code": _by_code(probe, axes, scenes, n_open, model.config.image_size),
    }


def _by_code(
    probe: Probe, axes: Axes, scenes: Sequence[Scene], n_open: int, size: int
) -> dict[str, float]:
    """Contrast and diversity of scenes drawn by code for the same prompts."""
    contrasts = [c for images in draw_scenes(scenes, size) for c in contrast(eight_bit(images))]
    seen = read_batches(probe, draw_scenes(open_scenes(n_open), size))
    return {"contrast": math.fsum(contrasts) / len(contrasts)} | diversity(seen, axes)
