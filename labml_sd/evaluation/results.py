r"""The results of an evaluation, in one JSON file in the run's folder.

Maps       evaluation.json  <->  a dictionary of parts
Tests      tests/evaluation/test_results.py
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labml_sd.errors import CheckpointError
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.utilities.replace import whole_file

FILE = "evaluation.json"
FORMAT = 1


def fingerprint(model: LatentDiffusion) -> str:
    """Identifies a model: ten hex digits of the SHA-256 of all its weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:10]


def read_results(folder: Path) -> dict[str, Any]:
    """The results in a folder. Raises CheckpointError if there are none or they are invalid."""
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
    """The results in a folder if they are of this model, else results without parts."""
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
    """Write a file completely or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Write the results into a folder."""
    write_text(folder / FILE, json.dumps(results, indent=1) + "\n")


@dataclass(frozen=True)
class RowCache:
    """The rows of a long part, each saved as soon as it is measured, so that it can resume."""

    rows: dict[str, Any] = field(default_factory=dict)
    save: Callable[[], object] = lambda: None  # called after each new row

    def row(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The saved row of a key, or a new one. A key names all that its row depends on."""
        if key not in self.rows:
            self.rows[key] = make()
            self.save()
        return dict(self.rows[key])


def row_cache(folder: Path, results: dict[str, Any], part: str) -> RowCache:
    """A cache in the folder's results, for the time until the part is complete."""
    rows = dict(results.get("unfinished", {}).get(part, {}))

    def save() -> None:
        unfinished = results.get("unfinished", {}) | {part: rows}
        write_results(folder, results | {"unfinished": unfinished})

    return RowCache(rows, save)
