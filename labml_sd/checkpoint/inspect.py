r"""Describe the content of a weights file, for `labml-sd inspect`.

Maps       a file or folder -> text; the numbers in a mapped file are not read
Tests      tests/checkpoint/test_inspect.py
"""

from collections import Counter
from os import PathLike
from pathlib import Path

from labml_sd.adapters.textual_inversion import described
from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.files.weights import Weights
from labml_sd.checkpoint.kind import EMBEDDING, Kind, recognise
from labml_sd.checkpoint.layouts.embedding import UNNAMED, NotAnEmbedding, words_in
from labml_sd.checkpoint.load import check
from labml_sd.checkpoint.sources import locate


def inspect_file(path: str | PathLike[str]) -> str:
    """Kind, layout, counts and dtypes; of a model also missing, extra and wrong weights.

    Raises CheckpointError for anything but a weights file, and for a damaged one.
    """
    place = locate(path)
    if place.is_dir():
        return str(check(place))
    weights = open_weights(place)
    kind = recognise(weights)
    return str(check(place)) if kind.loadable else _describe(place, weights, kind)


def _describe(path: Path, weights: Weights, kind: Kind) -> str:
    """A file that cannot be loaded as a model: counts, dtypes, and how its names begin."""
    groups = Counter(name.split(".")[0] for name in weights.tensors)
    dtypes = sorted({info.dtype for info in weights.tensors.values()})
    n_parameters = sum(info.n_parameters for info in weights.tensors.values())
    lines = [
        str(path),
        f"  {kind.sentence}",
        f"  {len(weights.tensors)} tensors, {n_parameters:,} parameters, "
        f"{', '.join(dtypes) or 'no dtype'}",
        *(f"    {name}: {n}" for name, n in groups.most_common(10)),
    ]
    if kind is EMBEDDING:
        lines += _embeddings(path, weights)
    if weights.refused:
        lines.append(f"  not built from the pickle: {', '.join(weights.refused)}")
    return "\n".join(lines)


def _embeddings(path: Path, weights: Weights) -> list[str]:
    """For each word: how many vectors of which width, and which models have that width."""
    try:
        words = words_in(weights)
    except NotAnEmbedding as error:
        return [f"  {error}"]
    lines = []
    for word, parts in words.items():
        shapes = [weights.tensors[name].shape for name in parts]
        n = sum(shape[0] if len(shape) == 2 else 1 for shape in shapes)
        name = path.stem if word == UNNAMED else word
        lines.append(f"  {described(name, n, shapes[0][-1])}")
    return lines
