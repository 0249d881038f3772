r"""The names under which different programs keep a textual inversion, in one file or picture.

Maps       Weights, or the JSON inside a picture  ->  {word: vectors [n d]}
           a word, vectors [n d]  ->  the entries of a file
Reference  AUTOMATIC1111 modules/textual_inversion (string_to_param, pictures);
           rinongal/textual_inversion (several words); kohya train_textual_inversion.py
           (emb_params); diffusers (a word for each tensor); ComfyUI (lists of dictionaries)
Tests      tests/checkpoint/layouts/test_embedding.py
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.checkpoint.files.weights import TensorInfo, Weights
from labml_sd.checkpoint.printable import shown

NAMES = ("diffusers", "a1111", "kohya")  # of the layouts that can be written
UNNAMED = "*"
"""The word in a file that leaves the name to the file's."""

PICTURE_TEXT = "sd-ti-embedding"  # AUTOMATIC1111's name for the text inside a picture
PARAMETERS, TOKENS, KOHYA = "string_to_param", "string_to_token", "emb_params"
SDXL = {"clip_l", "clip_g"}
WIDTHS = {768, 1024, 1280}  # of published text encoders
MAX_VECTORS = 1000
MAX_TEXT = 2**26  # characters of the text inside a picture
_ITEM = re.compile(r"\d+\.")  # item 0 of a list, as names of a torch file have it
_WORD = re.compile(r"<.+>|\*")  # as words of no vocabulary are mostly written

Parts = tuple[str, ...]
"""Tensors of a file that are joined to the vectors of one word."""


class NotAnEmbedding(ValueError):
    """What the tensors are instead, or what is wrong with them."""


def words_in(weights: Weights) -> dict[str, Parts]:
    """The words of an embedding file, each with the names of its tensors.

    Raises NotAnEmbedding for other files, and for embeddings of SDXL.
    """
    names = weights.tensors
    if SDXL & names.keys():
        raise NotAnEmbedding(
            "an embedding of Stable Diffusion XL (clip_l and clip_g), which is not supported"
        )
    found: dict[str, Parts] = {
        name.removeprefix(f"{PARAMETERS}."): (name,)
        for name in names
        if name.startswith(f"{PARAMETERS}.")
    }
    if not found and KOHYA in names:
        found = {UNNAMED: (KOHYA,)}
    if not found and names and all(_ITEM.match(name) for name in names):
        found = {UNNAMED: tuple(names)}
    if not found:
        found = {name: (name,) for name in names}
    for parts in found.values():
        _check(names, parts)
    if not found or (len(found) > 1 and len({width_of(names, p) for p in found.values()}) > 1):
        raise NotAnEmbedding("not a textual inversion embedding")
    return found


def _check(names: Mapping[str, TensorInfo], parts: Parts) -> None:
    for name in parts:
        info = names[name]
        if len(info.shape) not in (1, 2) or 0 in info.shape or "float" not in info.dtype:
            raise NotAnEmbedding("not a textual inversion embedding")
    n = sum(names[p].shape[0] if len(names[p].shape) == 2 else 1 for p in parts)
    if n > MAX_VECTORS or len({names[p].shape[-1] for p in parts}) > 1:
        raise NotAnEmbedding("not a textual inversion embedding")


def width_of(names: Mapping[str, TensorInfo], parts: Parts) -> int:
    """Numbers in each vector of a word."""
    return names[parts[0]].shape[-1]


def looks_like_embedding(weights: Weights) -> bool:
    """Whether a file is nothing else: by a program's names, by `<word>`, or by one tensor.

    Embeddings of SDXL are some too.
    """
    names = weights.tensors
    if PARAMETERS in weights.entries or names.keys() & {KOHYA, *SDXL}:
        return True
    try:
        words = words_in(weights)
    except NotAnEmbedding:
        return False
    is_known = all(width_of(names, parts) in WIDTHS for parts in words.values())
    return all(map(_WORD.fullmatch, words)) or (len(words) == 1 and is_known)


def read_words(weights: Weights) -> dict[str, Float[Tensor, "n d"]]:
    """The vectors of each word of an embedding file, in float32. Raises NotAnEmbedding."""
    return {
        word: torch.cat([_rows(weights.read(name)) for name in parts])
        for word, parts in words_in(weights).items()
    }


def _rows(tensor: Float[Tensor, "..."]) -> Float[Tensor, "n d"]:
    return (tensor[None] if tensor.ndim == 1 else tensor).detach().float().clone()


def words_of_picture(text: str) -> tuple[dict[str, Float[Tensor, "n d"]], str]:
    """The vectors in the text `PICTURE_TEXT` of a picture, and the name beside them, or "".

    It is JSON in base64, with a list of rows for each tensor. Raises NotAnEmbedding.
    """
    try:
        if len(text) > MAX_TEXT:
            raise ValueError(f"over {MAX_TEXT:,} characters")
        content = json.loads(base64.b64decode(text, validate=True))
        words = {
            str(word): torch.tensor(value["TORCHTENSOR"], dtype=torch.float32)
            for word, value in content[PARAMETERS].items()
        }
    except (
        *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError),
    ) as error:
        raise NotAnEmbedding(f"a damaged {PICTURE_TEXT} text ({shown(error)})") from error
    if not words or any(v.ndim not in (1, 2) or len(v) > MAX_VECTORS for v in words.values()):
        raise NotAnEmbedding(f"a {PICTURE_TEXT} text without vectors")
    name = content.get("name")
    vectors = {word: _rows(tensor) for word, tensor in words.items()}
    return vectors, name if isinstance(name, str) else ""


def as_entries(word: str, vectors: Float[Tensor, "n d"], layout: str) -> dict[str, Any]:
    """What a file of a layout holds."""
    vectors = vectors.detach().float().cpu().contiguous().clone()
    if layout == "kohya":
        return {KOHYA: vectors}
    if layout == "diffusers":
        return {word: vectors}
    return {
        TOKENS: {UNNAMED: 265},  # the token "*" of CLIP's vocabulary
        PARAMETERS: {UNNAMED: vectors},
        "name": word,
        "step": None,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }
