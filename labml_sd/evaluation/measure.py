r"""Runs the parts of the evaluation and saves each as soon as it is measured.

Maps       model, probe (, CLIP)  ->  evaluation.json and evaluation.md in the run's folder
Tests      tests/evaluation/test_measure.py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from labml_sd.evaluation.convergence import CURVES, convergence
from labml_sd.evaluation.convergence_plot import draw_convergence
from labml_sd.evaluation.draw_and_read import Measurement
from labml_sd.evaluation.dtypes import in_dtype, precision
from labml_sd.evaluation.edits import edits
from labml_sd.evaluation.evaluate import accuracy
from labml_sd.evaluation.report import markdown
from labml_sd.evaluation.results import results_of, row_cache, write_results, write_text
from labml_sd.evaluation.sweeps import sampler_grid, sweeps
from labml_sd.utilities.device import describe_device, fast_bfloat16

REPORT = "evaluation.md"
PLOT = "sampler_error.png"  # of the part convergence
PARTS: dict[str, Callable[[Measurement], dict[str, Any]]] = {
    "accuracy": accuracy,
    "sweeps": sweeps,
    "edits": edits,
    "precision": precision,
    "samplers": sampler_grid,
    "convergence": convergence,
}
NARROW = ("sweeps", "edits", "samplers")  # measured in bfloat16 where that is faster


def measure(m: Measurement, parts: Sequence[str], folder: Path) -> str:
    """Measure the parts in order; return the report of everything measured of this model.

    Both files are written after every part, so Ctrl-C loses only the current part, or of the
    parts `sweeps`, `samplers` and `convergence` only the current setting.
    """
    results = results_of(folder, m.model)
    usual = {
        "steps": m.settings.steps,
        "sampler": m.settings.sampler,
        "guidance_scale": m.guidance_scale,
    }
    for name in parts:
        started = time.monotonic()
        narrow = name in NARROW and not m.full_precision and fast_bfloat16(m.model.device)
        model = in_dtype(m.model, torch.bfloat16) if narrow else m.model
        rows = row_cache(folder, results, name)
        with tqdm(desc=name, disable=not m.progress, dynamic_ncols=True) as bar:
            part = PARTS[name](replace(m, model=model, rows=rows, bar=bar))
        part |= {
            "dtype": str(model.dtype).removeprefix("torch."),
            "settings": usual,
            "machine": describe_device(m.model.device),
            "seconds": time.monotonic() - started,
        }
        unfinished = {k: v for k, v in results.get("unfinished", {}).items() if k != name}
        results = results | {"parts": results["parts"] | {name: part}, "unfinished": unfinished}
        write_results(folder, results)
        write_text(folder / REPORT, markdown(results))
        if name == "convergence":
            draw_convergence(part["rows"], CURVES, folder / PLOT)
    return markdown(results)
