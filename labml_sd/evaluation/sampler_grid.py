r"""Every sampler at several step counts, and guidance with a rescale, in an interval, or with none.

Maps       model, probe  ->  a row of numbers for each setting
Paper      Lin et al. 2023, arXiv:2305.08891 (rescale); Kynkäänniemi et al. 2024, arXiv:2404.07724 (interval)
Tests      tests/evaluation/test_sampler_grid.py
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.compare_attributes import tally
from labml_sd.evaluation.diversity import OPEN_PROMPTS, diversity, open_scenes
from labml_sd.evaluation.draw_and_read import Settings, Told, drawn, eight_bit, read, rendered
from labml_sd.evaluation.frechet import Axes
from labml_sd.evaluation.probe import Probe
from labml_sd.evaluation.results import Rows
from labml_sd.evaluation.sweeps import mixed_scenes
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.sampler import SAMPLERS
from labml_sd.tiny.scenes import Scene

STEPS = (5, 10, 20, 50)
SCALES = (3.0, 8.0)
RESCALE = 0.7  # what Lin et al. take
INTERVAL = (0.3, 5.0)  # sigma; of 20 steps the first five and the last one are outside
BOTH_PASSES = 1 + 1e-9  # a scale that guides as little as 1 but runs the unconditional pass


def grid_settings() -> list[Settings]:
    """Every sampler at every step count, at the model's own scale."""
    return [Settings(sampler=name, steps=steps) for steps in STEPS for name in SAMPLERS]


def guidance_settings() -> dict[str, Settings]:
    """What is there for guidance, at 20 steps of the usual sampler."""
    found: dict[str, Settings] = {}
    for scale in SCALES:
        found |= {
            f"{scale:g}": Settings(guidance_scale=scale),
            f"{scale:g}, rescale {RESCALE:g}": Settings(
                guidance_scale=scale, guidance_rescale=RESCALE
            ),
            f"{scale:g}, interval": Settings(guidance_scale=scale, guidance_interval=INTERVAL),
        }
    return found | {
        "1": Settings(guidance_scale=1.0),
        "1, both passes": Settings(guidance_scale=BOTH_PASSES),
    }


@dataclass
class Effort:
    """What pictures cost."""

    passes: int = 0  # of one latent through the U-Net; a guided evaluation is two of them
    seconds: float = (
        0.0  # of this process' processors: other work on the machine does not count
    )


@contextmanager
def effort(model: LatentDiffusion) -> Iterator[Effort]:
    """Count what runs through the U-Net inside the block."""
    spent = Effort()

    def count(_: torch.nn.Module, arguments: tuple[Tensor, ...]) -> None:
        spent.passes += len(arguments[0])

    handle, started = model.unet.register_forward_pre_hook(count), time.process_time()
    try:
        yield spent
    finally:
        handle.remove()
        spent.seconds = time.process_time() - started


@dataclass(frozen=True)
class Grid:
    """All that a row needs."""

    model: LatentDiffusion
    probe: Probe
    axes: Axes
    rows: Rows
    scenes: Sequence[Scene]
    n_open: int
    told: Told

    def accuracy(
        self, settings: Settings, contrasts: list[float] | None = None
    ) -> dict[str, Any]:
        """How much of the full captions is shown, and what a picture cost."""
        captions = [scene.caption(full=True) for scene in self.scenes]
        with effort(self.model) as spent:
            batches = list(drawn(self.model, captions, settings, told=self.told))
        if contrasts is not None:
            contrasts += [c for images in batches for c in contrast(images)]
        shares = tally(list(self.scenes), read(self.probe, batches).scenes)
        return {name: shares[name].as_data() for name in ("mean", "whole")} | {
            "passes": spent.passes / len(captions),
            "seconds": spent.seconds / len(captions),
        }

    def guidance(self, settings: Settings) -> dict[str, Any]:
        """The same with the contrast of these pictures, and the diversity of those of open prompts."""
        contrasts: list[float] = []
        right = self.accuracy(settings, contrasts)
        short = [prompt for prompt in OPEN_PROMPTS for _ in range(self.n_open)]
        seen = read(self.probe, drawn(self.model, short, settings, told=self.told))
        return (
            right
            | {"contrast": math.fsum(contrasts) / len(contrasts)}
            | diversity(seen, self.axes)
        )

    def kept(
        self, settings: Settings, make: Callable[[Settings], dict[str, Any]]
    ) -> dict[str, Any]:
        """A row with its settings, measured once however often the part is begun."""
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
    """The standard deviation of each picture's values, in grey levels."""
    return [float(c) for c in 127.5 * images.flatten(1).std(dim=1)]


def sampler_grid(
    model: LatentDiffusion,
    probe: Probe,
    axes: Axes,
    rows: Rows,
    *,
    n_prompts: int,
    n_open: int,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure every setting on `n_prompts` full captions; guidance also on `n_open` of each open prompt.

    `n_open` is 2 or more. What `rows` knows from a call that was interrupted is not measured
    again.
    """
    guidance, settings = guidance_settings(), grid_settings()
    total = n_prompts * (len(settings) + len(guidance)) + n_open * len(OPEN_PROMPTS) * len(
        guidance
    )
    scenes = mixed_scenes(n_prompts)
    with tqdm(total=total, desc="samplers", disable=not progress, dynamic_ncols=True) as bar:
        grid = Grid(model, probe, axes, rows, scenes, n_open, bar.update)
        measured = {
            "guidance": {name: grid.kept(s, grid.guidance) for name, s in guidance.items()},
            "grid": [grid.kept(s, grid.accuracy) for s in settings],
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
    """What the same prompts look like when they are drawn without error and in full diversity."""
    contrasts = [c for images in rendered(scenes, size) for c in contrast(eight_bit(images))]
    seen = read(probe, rendered(open_scenes(n_open), size))
    return {"contrast": math.fsum(contrasts) / len(contrasts)} | diversity(seen, axes)
