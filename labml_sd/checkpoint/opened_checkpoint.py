r"""A model on disk, opened and sorted into parts, before its numbers are read.

Maps       nothing; a frozen dataclass, and the error for kinds that cannot be loaded
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
class OpenedCheckpoint:
    """`found` is {part: {our name: tensor}}; `tokenizer` is a folder, a JSON text, or None.

    `prediction_is_known` is false for a file of SD v2, which does not say what is predicted.
    """

    path: Path
    layout: str
    kind: Kind
    config: ModelConfig
    found: Mapping[str, Mapping[str, Stored]]
    ignored: tuple[str, ...]
    refused: tuple[str, ...]
    tokenizer: Path | str | None
    prediction_is_known: bool = True

    def report(self, needed: Shapes | None = None) -> LoadReport:
        """Compare the tensors with `needed`, by default the weights that `config` needs."""
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
    """Raise CheckpointError for a file that is not a model, or not a supported one."""
    if not kind.loadable:
        raise CheckpointError(f"{path}: {kind.sentence}")
