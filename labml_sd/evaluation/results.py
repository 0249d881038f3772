r"""What was measured, as one JSON file in the run's folder; a part measured again takes its old place.

Maps       evaluation.json <-> a dictionary of parts
Tests      tests/evaluation/test_results.py
"""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from labml_sd.checkpoint import load_model
from labml_sd.checkpoint.files.replace import whole_file
from labml_sd.checkpoint.sources import locate
from labml_sd.errors import CheckpointError
from labml_sd.latent_diffusion import LatentDiffusion

FILE = "evaluation.json"
FORMAT = 1


def fingerprint(model: LatentDiffusion) -> str:
    """Ten hex digits of all weights: tells one model's results from another's."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:10]


def machine(device: torch.device) -> str:
    """What computes, in words."""
    name = _cpu_name() if device.type == "cpu" else device.type
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    cores = (
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        if device.type == "cpu"
        else ""
    )
    return f"{name}, {cores}torch {torch.__version__.split('+')[0]}"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return " ".join(names[0].split()) if names else platform.processor() or platform.machine()


def read_results(folder: Path) -> dict[str, Any]:
    """What a folder's file holds; CheckpointError when there is none or it is of another kind."""
    path = folder / FILE
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such file; run labml-sd train evaluate --outdir {folder} first"
        )
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not the results of an evaluation; delete it") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: results of another version; delete it and evaluate again"
        )
    return results


def results_of(folder: Path, model: LatentDiffusion) -> dict[str, Any]:
    """What the folder's file holds of this very model, or a new beginning."""
    new = {
        "format": FORMAT,
        "model": {"name": model.config.name, "weights": fingerprint(model)},
        "parts": {},
    }
    if not (folder / FILE).exists():
        return new
    old = read_results(folder)
    return old if old["model"] == new["model"] else new


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Keep what was measured."""
    write_text(folder / FILE, json.dumps(results, indent=1) + "\n")


@dataclass(frozen=True)
class Rows:
    """The rows of a long part, each kept as soon as it is measured: a later call goes on from there."""

    known: dict[str, Any] = field(default_factory=dict)
    keep: Callable[[], object] = lambda: None  # is told when a row has come

    def row(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The row of a key, which tells all that it depends on: the one that is known, or else a new one."""
        if key not in self.known:
            self.known[key] = make()
            self.keep()
        return dict(self.known[key])


def kept_rows(folder: Path, results: dict[str, Any], part: str) -> Rows:
    """Rows that are written into the folder's file beside its parts, until the part itself is there."""
    known = dict(results.get("unfinished", {}).get(part, {}))

    def keep() -> None:
        unfinished = results.get("unfinished", {}) | {part: known}
        write_results(folder, results | {"unfinished": unfinished})

    return Rows(known, keep)


def measured_folder(
    source: str, run: Path, what: str
) -> tuple[Path, LatentDiffusion, dict[str, Any]]:
    """A saved model's folder, the model, and what the run measured of it.

    `what` is to lie in that folder. CheckpointError when there is none, or the run measured
    other weights.
    """
    folder = locate(source)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder}: not a folder; {what} lies in the folder of a saved model"
        )
    results, model = read_results(run), load_model(source, device="cpu", dtype="float32")
    if results["model"]["weights"] != fingerprint(model):
        raise CheckpointError(
            f"{run / FILE}: measured on other weights than those of {folder}; run labml-sd train evaluate "
            f"--model {source} --outdir {run}"
        )
    return folder, model, results
