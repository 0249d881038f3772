r"""Runs the parts of the evaluation and saves each as soon as it is measured.

Maps       model, probe (, CLIP)  ->  evaluation.json and evaluation.md in the run's folder
Tests      tests/evaluation/test_measure.py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from labml_sd.evaluation.clip_score import ClipScorer
from labml_sd.evaluation.convergence import CURVES, convergence
from labml_sd.evaluation.convergence_plot import draw_convergence
from labml_sd.evaluation.draw_and_read import SamplingSettings
from labml_sd.evaluation.dtypes import dtypes, in_dtype
from labml_sd.evaluation.edits import negative_prompts, strengths
from labml_sd.evaluation.evaluate import evaluate, scene_axes
from labml_sd.evaluation.probe import Probe
from labml_sd.evaluation.repainting import repainting
from labml_sd.evaluation.report import markdown
from labml_sd.evaluation.results import (
    RowCache,
    describe_device,
    results_of,
    row_cache,
    write_results,
    write_text,
)
from labml_sd.evaluation.sampler_grid import sampler_grid
from labml_sd.evaluation.sweeps import sweeps
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.utilities.device import fast_bfloat16

REPORT = "evaluation.md"
PLOT = "sampler_error.png"  # of the part convergence


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What all parts need. `n_prompts` is for each group; expensive parts use a share of it."""

    model: LatentDiffusion
    probe: Probe
    settings: SamplingSettings
    n_prompts: int = 500
    clip: ClipScorer | None = None
    full_precision: bool = False  # no bfloat16 for sweeps and edits
    progress: bool = True
    rows: RowCache = field(default_factory=RowCache)  # rows of an unfinished part

    @property
    def fast_model(self) -> LatentDiffusion:
        """The model in bfloat16 where that is faster, unless `full_precision`."""
        narrow = fast_bfloat16(self.model.device) and not self.full_precision
        return in_dtype(self.model, torch.bfloat16) if narrow else self.model

    def share(self, divisor: int, at_least: int = 1) -> int:
        """A share of `n_prompts`."""
        return max(at_least, self.n_prompts // divisor)


def accuracy(m: Measurement) -> dict[str, Any]:
    """How often pictures show what their prompts say."""
    axes = scene_axes(m.probe, m.model.config.image_size)
    return evaluate(
        m.model, m.probe, axes, m.settings,
        n_prompts=m.n_prompts, clip=m.clip, progress=m.progress,
    )  # fmt: skip


def sweep(m: Measurement) -> dict[str, Any]:
    """Accuracy and diversity by guidance scale, steps and sampler."""
    axes = scene_axes(m.probe, m.model.config.image_size)
    return sweeps(
        m.model, m.probe, axes, m.settings,
        n_prompts=m.share(5), n_open=m.share(62, 2), progress=m.progress,
    )  # fmt: skip


def edits(m: Measurement) -> dict[str, Any]:
    """Negative prompts, image to image, in-painting."""
    about, progress = (m.model, m.probe, m.settings), m.progress
    return {
        "negative": negative_prompts(*about, m.share(5), progress=progress),
        "strength": strengths(*about, m.share(10), progress=progress),
        "inpaint": repainting(*about, m.share(5), progress=progress),
    }


def precision(m: Measurement) -> dict[str, Any]:
    """float16 and bfloat16 against float32."""
    return dtypes(m.model, m.settings, m.share(31), progress=m.progress)


def samplers(m: Measurement) -> dict[str, Any]:
    """Every sampler at several step counts, and the variants of guidance."""
    axes = scene_axes(m.probe, m.model.config.image_size)
    return sampler_grid(
        m.model, m.probe, axes, m.rows,
        n_prompts=m.share(25), n_open=m.share(125, 2), progress=m.progress,
    )  # fmt: skip


def converge(m: Measurement) -> dict[str, Any]:
    """Deterministic samplers against the exact solution."""
    n_prompts = m.share(156, 2)
    return convergence(m.model, _scale(m), m.rows, n_prompts=n_prompts, progress=m.progress)


PARTS: dict[str, Callable[[Measurement], dict[str, Any]]] = {
    "accuracy": accuracy,
    "sweeps": sweep,
    "edits": edits,
    "precision": precision,
    "samplers": samplers,
    "convergence": converge,
}
IN_FAST_DTYPE = ("sweeps", "edits", "samplers")  # measured with `fast_model`


def measure(m: Measurement, parts: Sequence[str], folder: Path) -> str:
    """Measure the parts in order; return the report of everything measured of this model.

    Both files are written after every part, so Ctrl-C loses only the current part, or of the
    parts `samplers` and `convergence` only the current setting.
    """
    results = results_of(folder, m.model)
    usual = {
        "steps": m.settings.steps,
        "sampler": m.settings.sampler,
        "guidance_scale": _scale(m),
    }
    for name in parts:
        started = time.monotonic()
        model = m.fast_model if name in IN_FAST_DTYPE else m.model
        part = PARTS[name](replace(m, model=model, rows=row_cache(folder, results, name)))
        about = {
            "dtype": str(model.dtype).removeprefix("torch."),
            "settings": usual,
            "machine": describe_device(m.model.device),
        }
        part |= about | {"seconds": time.monotonic() - started}
        unfinished = {k: v for k, v in results.get("unfinished", {}).items() if k != name}
        results = results | {"parts": results["parts"] | {name: part}, "unfinished": unfinished}
        write_results(folder, results)
        write_text(folder / REPORT, markdown(results))
        if name == "convergence":
            draw_convergence(part["rows"], CURVES, folder / PLOT)
    return markdown(results)


def _scale(m: Measurement) -> float:
    """The guidance scale of the settings, or else the model's default."""
    scale = m.settings.guidance_scale
    return m.model.config.guidance_scale if scale is None else scale
