r"""Keeps the vectors of phrases on the disk: a list is read by CLIP once.

Maps       CLIP, phrases  ->  their vectors [n d], from a .safetensors file if there is one
Tests      tests/interrogator/test_phrase_cache.py
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from labml_sd.checkpoint.sources import to_path
from labml_sd.utilities.replace import whole_file

NAME = "vectors"  # of the one tensor in a file


@runtime_checkable
class Texts(Protocol):
    """What makes vectors of texts: `Clip`."""

    @property
    def fingerprint(self) -> str:
        """Another one for other vectors."""

    def embed_texts(
        self, texts: Sequence[str], *, progress: bool = False
    ) -> Float[Tensor, "n d"]:
        """Their unit vectors."""


def cache_folder() -> Path:
    """A folder in the cache of the Hugging Face hub's client (HF_HOME, HF_ASSETS_CACHE)."""
    from huggingface_hub import cached_assets_path

    return cached_assets_path("labml_sd", "interrogator", "phrases")


def cached_vectors(
    clip: Texts,
    phrases: Sequence[str],
    cache: str | PathLike[str] | None = None,
    *,
    progress: bool = False,
) -> Float[Tensor, "n d"]:
    """The vectors of phrases, read from `cache` (None: `cache_folder()`) or made and kept.

    The file's name is a hash of the network and the phrases. A damaged file is replaced; where
    none can be written, a warning says so.
    """
    key = hashlib.sha256(json.dumps([clip.fingerprint, list(phrases)]).encode()).hexdigest()[
        :20
    ]
    try:
        folder = cache_folder() if cache is None else to_path(cache, "a folder for the cache")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _warn(str(cache or "the cache"), error)
        return clip.embed_texts(phrases, progress=progress)
    path = folder / f"phrases-{key}.safetensors"
    found = _read(path, len(phrases))
    if found is not None:
        return found
    vectors = clip.embed_texts(phrases, progress=progress)
    try:
        with whole_file(path) as new:
            save_file({NAME: vectors.contiguous()}, new)
    except (OSError, SafetensorError) as error:
        _warn(str(path), error)
    return vectors


def _read(path: Path, n: int) -> Float[Tensor, "n d"] | None:
    """The vectors in a file; None if it is missing, damaged or not such a file."""
    try:
        vectors = load_file(path)[NAME]
    except (OSError, SafetensorError, KeyError):
        return None
    whole = vectors.ndim == 2 and len(vectors) == n and vectors.dtype == torch.float32
    return vectors if whole and bool(torch.isfinite(vectors).all()) else None


def _warn(place: str, error: Exception) -> None:
    reason = getattr(error, "strerror", None) or error
    warnings.warn(f"{place}: cannot be written ({reason}); phrases are not kept", stacklevel=4)
