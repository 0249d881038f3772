r"""A network of transformers and its tokenizer, from a folder or from the hub.

No code that comes with a model is run: transformers' own classes read it, weights in
safetensors files are preferred, and others are read by PyTorch's `weights_only` reader.

Maps       a path or a hub id  ->  a folder;  the folder  ->  configuration, tokenizer, network
Reference  transformers' from_pretrained, which is used here
Tests      tests/checkpoint/test_transformers_folder.py
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labml_sd.checkpoint.hub import is_hub_id, snapshot
from labml_sd.checkpoint.sources import to_path
from labml_sd.errors import CheckpointError, one_line

TEXTS = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration and tokenizer
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")  # the first that is there
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
_BARE_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
_SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_SHOWN = 200  # characters of another library's message


def find_folder(source: str | PathLike[str], what: str, *, bare_names: bool = False) -> Path:
    """The folder of a model; what is on this disk comes first. `what` describes it in errors.

    A model of the hub is downloaded unless it is in the hub's cache: its texts and one set of
    weights, no code. `bare_names` allows ids without an owner, as "gpt2". Raises
    CheckpointError if it is nowhere or cannot be downloaded.
    """
    path = to_path(source, f"a folder or a hub id of {what}")
    if path.is_dir():
        return path
    is_bare = bare_names and _BARE_NAME.fullmatch(str(source)) is not None
    if path.exists() or not (is_bare or is_hub_id(str(source))):
        raise CheckpointError(f"{source}: is not a folder; give a folder or a hub id of {what}")
    for weights in WEIGHTS:
        includes = " ".join(f"--include '{each}'" for each in (*TEXTS, weights))
        command = f"hf download {source} {includes}"
        folder = snapshot(str(source), [*TEXTS, weights], command)
        if any(folder.glob(weights)):
            break
    return folder


def folder_of_kind(source: str | PathLike[str], kind: str) -> Path:
    """The folder of a network of transformers' `kind`, its `model_type`.

    Raises CheckpointError as `find_folder` and `config_of`, and for one of another kind.
    """
    folder = find_folder(source, f"a {kind} model")
    found = config_of(folder)["model_type"]
    if found != kind:
        raise CheckpointError(f"{source}: is a model of kind {found!r}; expected {kind!r}")
    return folder


def config_of(folder: Path) -> dict[str, Any]:
    """What config.json says, with its `model_type`.

    Raises CheckpointError if it is missing or damaged, or there are no weights beside it.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder}: has no config.json; give the folder of a transformers model"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: is damaged; get it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{path}: is damaged or names no model_type; get it again")
    if not _has(folder, WEIGHTS):
        raise CheckpointError(f"{folder}: no weights there; expected {' or '.join(WEIGHTS)}")
    return config


def load_words(folder: Path) -> Any:
    """The tokenizer of a folder. Raises CheckpointError if there is none that can be read."""
    if not _has(folder, VOCABULARIES):  # transformers would make an empty one
        raise CheckpointError(
            f"{folder}: has no tokenizer; copy tokenizer.json, or the files that it has "
            "instead, into the folder"
        )
    from transformers import AutoTokenizer  # which takes seconds

    try:
        with _quietly():
            return AutoTokenizer.from_pretrained(str(folder), **_SAFE)
    except Exception as error:  # of many libraries
        raise CheckpointError(
            f"{folder}: its tokenizer cannot be read ({_reason(error)}); get it again"
        ) from error


def load_network(kind: Any, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """A network of the transformers class `kind`, for inference, without gradients.

    Nothing is downloaded. Raises CheckpointError for files that are damaged or incomplete.
    """
    try:
        with _quietly():
            network, info = kind.from_pretrained(
                str(folder),
                **_SAFE,
                dtype=dtype,
                use_safetensors=_has(folder, WEIGHTS[:1]),
                weights_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # of many libraries
        raise CheckpointError(f"{folder}: cannot be loaded ({_reason(error)})") from error
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(
            f"{folder}: is incomplete, {len(missing)} weights are missing, {missing[0]} for "
            "one; get it again"
        )
    if info["mismatched_keys"]:
        raise CheckpointError(f"{folder}: is incomplete, a weight has another shape")
    assert isinstance(network, nn.Module)
    return network.eval().requires_grad_(False).to(device)


def _has(folder: Path, patterns: Sequence[str]) -> bool:
    return any(any(folder.glob(pattern)) for pattern in patterns)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the progress bars and the warnings of transformers: errors are raised."""
    from transformers.utils import logging

    had_bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


def _reason(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return one_line(first).rstrip(".")[:_SHOWN]
