r"""Files of textual inversion embeddings, of every program's form.

Maps       a file, a folder, (name, file) or an Embedding  ->  Embedding, by name
           Embedding  ->  a file
Reference  AUTOMATIC1111 modules/textual_inversion/textual_inversion.py; diffusers
           loaders/textual_inversion.py
Tests      tests/checkpoint/test_embeddings.py
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from labml_sd.adapters.textual_inversion import Embedding, by_name
from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.hashes import embedding_hash
from labml_sd.checkpoint.layouts.embedding import (
    NAMES,
    PICTURE_TEXT,
    UNNAMED,
    NotAnEmbedding,
    as_entries,
    read_words,
    words_of_picture,
)
from labml_sd.checkpoint.sources import to_path
from labml_sd.errors import CheckpointError, ImageError, PromptError, quoted
from labml_sd.images.reading import picture_format, read_picture
from labml_sd.utilities.replace import whole_file

FILES = (".safetensors", ".pt", ".bin")  # looked for in a folder
LAYOUTS = {
    ".safetensors": "diffusers",
    ".bin": "diffusers",
    ".pt": "a1111",
}


def load_embedding(path: str | PathLike[str], name: str | None = None) -> list[Embedding]:
    """The embeddings in a file: mostly one, in the files of some programs several.

    An embedding is called `name`; or as the file says; or, where that names none (it says "*"),
    as the file itself without its ending, as in AUTOMATIC1111. A file is read by its content:
    safetensors, torch, or a picture of AUTOMATIC1111's with an embedding inside.

    Raises CheckpointError for a file that is damaged or no embedding, for NaN and Inf, for an
    embedding of SDXL, and for a `name` where the file has several.
    """
    place = to_path(path, "an embedding file")
    try:
        words, inner = _read(place)
    except NotAnEmbedding as error:
        raise CheckpointError(
            f"{place}: {error}; give an embedding for Stable Diffusion 1 or 2"
        ) from error
    if name is not None and len(words) > 1:
        raise CheckpointError(
            f"{place}: has {len(words)} embeddings ({', '.join(words)}), which cannot all be "
            f"called {quoted(name)}; give the file without a name"
        )
    digits = embedding_hash(place)
    try:
        return [
            Embedding(
                name or (inner or place.stem if word == UNNAMED else word),
                vectors,
                stem=place.stem if len(words) == 1 else "",
                hash=digits,
            )
            for word, vectors in words.items()
        ]
    except PromptError as error:
        raise CheckpointError(f"{place}: {error}") from error


def _read(place: Path) -> tuple[Mapping[str, Tensor], str]:
    """The vectors of each word, and the name inside a picture."""
    if not _is_picture(place):
        return read_words(open_weights(place)), ""
    try:
        text = read_picture(place).info.get(PICTURE_TEXT)
    except ImageError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(text, str):
        raise NotAnEmbedding(f"a picture without the text {PICTURE_TEXT}")
    return words_of_picture(text)


def _is_picture(place: Path) -> bool:
    try:
        with place.open("rb") as file:
            return picture_format(file.read(12)) is not None
    except OSError:
        return False  # `open_weights` says what is wrong


def load_embeddings(
    sources: object, width: int, family: str = "this model"
) -> dict[str, Embedding]:
    """Embeddings for a text encoder, by every name that stands for them in a prompt.

    A source is a file, (name, file), an Embedding, or a folder, of which the files of another
    width and those that are no embeddings are left out, the latter with a warning. Raises
    CheckpointError as `load_embedding`; PromptError for another width, for two of one name and
    for a source of another type.
    """
    if isinstance(sources, str | PathLike | Embedding):
        sources = [sources]
    if not isinstance(sources, Iterable):
        raise _no_source(sources)
    found = [e for source in sources for e in _embeddings_of(source, width)]
    return by_name(found, width, family)


def _embeddings_of(source: object, width: int) -> Iterator[Embedding]:
    if isinstance(source, Embedding):
        yield source
    elif isinstance(source, str | PathLike):
        place = to_path(source, "an embedding file or a folder of them")
        yield from _folder(place, width) if place.is_dir() else load_embedding(place)
    elif (
        isinstance(source, tuple)
        and len(source) == 2
        and isinstance(source[0], str)
        and isinstance(source[1], str | PathLike)
    ):
        yield from load_embedding(source[1], source[0])
    else:
        raise _no_source(source)


def _no_source(value: object) -> PromptError:
    return PromptError(
        f"{quoted(value)} is no embedding: give a file, a folder, (name, file) or an Embedding"
    )


def _folder(folder: Path, width: int) -> Iterator[Embedding]:
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in FILES):
        try:
            yield from (e for e in load_embedding(path) if e.width == width)
        except CheckpointError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)


def save_embedding(
    embedding: Embedding, path: str | PathLike[str], layout: str | None = None
) -> None:
    """Write an embedding; an existing file is replaced when the new one is complete.

    The ending says the format: .safetensors, .bin or .pt. `layout` "diffusers" has the vectors
    under the word itself, "a1111" is AUTOMATIC1111's (.pt), "kohya" has no word: there the
    file's name is the word. None: "a1111" for .pt, else "diffusers". Raises CheckpointError for
    another ending, and for a place that cannot be written.
    """
    place = to_path(path, "the name of a .safetensors, .bin or .pt file")
    if place.suffix not in LAYOUTS:
        raise CheckpointError(f"{place}: give a name that ends in .safetensors, .bin or .pt")
    chosen = layout or LAYOUTS[place.suffix]
    if chosen not in NAMES:
        raise CheckpointError(
            f"layout {quoted(layout)} is unknown; expected 'diffusers', 'a1111' or 'kohya'"
        )
    if place.suffix == ".safetensors" and chosen == "a1111":
        raise CheckpointError(f"{place}: layout 'a1111' is a .pt file; give such a name")
    entries: dict[str, Any] = as_entries(embedding.name, embedding.vectors, chosen)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(place) as new:
            if place.suffix == ".safetensors":
                save_file(entries, new, metadata={"format": "pt"})
            else:
                torch.save(entries, new)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{place}: cannot be written ({error})") from error
