r"""The evaluation in parts, each kept as soon as it is measured.

Maps       model, probe (, CLIP)  ->  evaluation.json and evaluation.md in the run's folder
Tests      tests/evaluation/test_measure.py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from labml_sd.evaluation.clip_score import ClipReader
from labml_sd.evaluation.convergence import CURVES, convergence
from labml_sd.evaluation.convergence_plot import draw_convergence
from labml_sd.evaluation.draw_and_read import Settings
from labml_sd.evaluation.dtypes import dtypes, in_dtype
from labml_sd.evaluation.edits import negative_prompts, strengths
from labml_sd.evaluation.evaluate import evaluate, scene_axes
from labml_sd.evaluation.probe import Probe
from labml_sd.evaluation.repainting import repainting
from labml_sd.evaluation.report import markdown
from labml_sd.evaluation.results import (
    Rows,
    kept_rows,
    machine,
    results_of,
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
    """All that the parts need. `n_prompts` is for each kind of prompt; dearer parts take a share of it."""

    model: LatentDiffusion
    probe: Probe
    settings: Settings
    n_prompts: int = 500
    clip: ClipReader | None = None
    full_precision: bool = False  # no bfloat16 for sweeps and edits, even where it is fast
    progress: bool = True
    rows: Rows = field(default_factory=Rows)  # of a part that was not finished

    @property
    def quick(self) -> LatentDiffusion:
        """The model for sweeps and edits: in bfloat16 where this machine multiplies that faster."""
        narrow = fast_bfloat16(self.model.device) and not self.full_precision
        return in_dtype(self.model, torch.bfloat16) if narrow else self.model

    def share(self, divisor: int, at_least: int = 1) -> int:
        """A share of the prompts."""
        return max(at_least, self.n_prompts // divisor)


def accuracy(m: Measurement) -> dict[str, Any]:
    """What the model shows of what it is asked for."""
    axes = scene_axes(m.probe, m.model.config.image_size)
    return evaluate(
        m.model,
        m.probe,
        axes,
        m.settings,
        n_prompts=m.n_prompts,
        clip=m.clip,
        progress=m.progress,
    ) | _drawn_in(m.model)


def sweep(m: Measurement) -> dict[str, Any]:
    """Guidance, steps, samplers."""
    model, axes = m.quick, scene_axes(m.probe, m.model.config.image_size)
    return sweeps(
        model,
        m.probe,
        axes,
        m.settings,
        n_prompts=m.share(5),
        n_open=m.share(62, 2),
        progress=m.progress,
    ) | _drawn_in(model)


def edits(m: Measurement) -> dict[str, Any]:
    """Negative prompts, image to image, in-painting."""
    model = m.quick
    return {
        "negative": negative_prompts(
            model, m.probe, m.settings, m.share(5), progress=m.progress
        ),
        "strength": strengths(model, m.probe, m.settings, m.share(10), progress=m.progress),
        "inpaint": repainting(model, m.probe, m.settings, m.share(5), progress=m.progress),
    } | _drawn_in(model)


def precision(m: Measurement) -> dict[str, Any]:
    """The narrow types against float32."""
    return dtypes(m.model, m.settings, m.share(31), progress=m.progress) | _drawn_in(m.model)


def samplers(m: Measurement) -> dict[str, Any]:
    """Every sampler at several step counts, and what is there for guidance besides its scale."""
    model, axes = m.quick, scene_axes(m.probe, m.model.config.image_size)
    return sampler_grid(
        model,
        m.probe,
        axes,
        m.rows,
        n_prompts=m.share(25),
        n_open=m.share(125, 2),
        progress=m.progress,
    ) | _drawn_in(model)


def converge(m: Measurement) -> dict[str, Any]:
    """Samplers that draw no noise against the exact solution; in the model's own type."""
    prompts = m.share(156, 2)
    return convergence(
        m.model, _scale(m), m.rows, n_prompts=prompts, progress=m.progress
    ) | _drawn_in(m.model)


PARTS: dict[str, Callable[[Measurement], dict[str, Any]]] = {
    "accuracy": accuracy,
    "sweeps": sweep,
    "edits": edits,
    "precision": precision,
    "samplers": samplers,
    "convergence": converge,
}


def measure(m: Measurement, parts: Sequence[str], folder: Path) -> str:
    """Measure the parts one after the other; return the report of all that the folder has of this model.

    Both files are written after every part, whole: Ctrl-C loses the part it interrupts, and
    nothing else. Of the parts `samplers` and `convergence` it loses only the setting in hand.
    """
    results = results_of(folder, m.model)
    usual = {
        "steps": m.settings.steps,
        "sampler": m.settings.sampler,
        "guidance_scale": _scale(m),
    }
    for name in parts:
        started = time.monotonic()
        part = PARTS[name](replace(m, rows=kept_rows(folder, results, name)))
        about = {"settings": usual, "machine": machine(m.model.device)}
        part |= about | {"seconds": time.monotonic() - started}
        unfinished = {k: v for k, v in results.get("unfinished", {}).items() if k != name}
        results = results | {"parts": results["parts"] | {name: part}, "unfinished": unfinished}
        write_results(folder, results)
        write_text(folder / REPORT, markdown(results))
        if name == "convergence":
            draw_convergence(part["rows"], CURVES, folder / PLOT)
    return markdown(results)


def _scale(m: Measurement) -> float:
    """The scale that is used."""
    return (
        m.model.config.guidance_scale
        if m.settings.guidance_scale is None
        else m.settings.guidance_scale
    )


def _drawn_in(model: LatentDiffusion) -> dict[str, str]:
    return {"dtype": str(model.dtype).removeprefix("torch.")}
