r"""Say what a weights file holds, for `labml-sd inspect`.

Maps       a file or folder -> text; the numbers in it are not read
Tests      tests/checkpoint/test_inspect.py
"""

from collections import Counter
from os import PathLike
from pathlib import Path

from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.files.weights import Weights
from labml_sd.checkpoint.kind import Kind, recognise
from labml_sd.checkpoint.load import check
from labml_sd.checkpoint.sources import locate


def inspect_file(path: str | PathLike[str]) -> str:
    """Kind, layout, counts and dtypes; of a model also what is missing, extra or of the wrong shape.

    Raises CheckpointError for what is no weights file, or is damaged.
    """
    place = locate(path)
    if place.is_dir():
        return str(check(place))
    weights = open_weights(place)
    kind = recognise(weights)
    return str(check(place)) if kind.loadable else _describe(place, weights, kind)


def _describe(path: Path, weights: Weights, kind: Kind) -> str:
    """What can be said of a file that is no model to load: how much of what, and how its names begin."""
    groups = Counter(name.split(".")[0] for name in weights.tensors)
    dtypes = sorted({info.dtype for info in weights.tensors.values()})
    n_parameters = sum(info.n_parameters for info in weights.tensors.values())
    lines = [
        str(path),
        f"  {kind.sentence}",
        f"  {len(weights.tensors)} tensors, {n_parameters:,} parameters, {', '.join(dtypes) or 'no dtype'}",
        *(f"    {name}: {n}" for name, n in groups.most_common(10)),
    ]
    if weights.refused:
        lines.append(f"  not built from the pickle: {', '.join(weights.refused)}")
    return "\n".join(lines)
