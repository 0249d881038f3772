r"""A model on disk, opened and sorted into parts, before a number of it is read.

Maps       nothing; a frozen dataclass, and the refusal of kinds that are no model
Tests      tests/checkpoint/test_load.py
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from labml_sd.checkpoint.files.weights import Stored
from labml_sd.checkpoint.kind import Kind
from labml_sd.checkpoint.networks import Shapes, wanted_shapes
from labml_sd.checkpoint.report import LoadReport, compare
from labml_sd.config import ModelConfig
from labml_sd.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class Opened:
    """`found` is {part: {our name: tensor}}; `tokenizer` a folder, JSON text, or None when there is none."""

    path: Path
    layout: str
    kind: Kind
    config: ModelConfig
    found: Mapping[str, Mapping[str, Stored]]
    ignored: tuple[str, ...]
    refused: tuple[str, ...]
    tokenizer: Path | str | None

    def report(self, needed: Shapes | None = None) -> LoadReport:
        """Hold what was found against what the networks need: those there are, else those of the numbers."""
        needed = wanted_shapes(self.config) if needed is None else needed
        parts = tuple(
            compare(part, wanted, self.found[part]) for part, wanted in needed.items()
        )
        return LoadReport(
            source=str(self.path),
            kind=self.kind,
            layout=self.layout,
            parts=parts,
            ignored=self.ignored,
            refused=self.refused,
        )


def refuse_kind(path: Path, kind: Kind) -> None:
    """Raise CheckpointError for a file that is no model, or a model that is not supported yet."""
    if not kind.loadable:
        raise CheckpointError(f"{path}: {kind.sentence}")
