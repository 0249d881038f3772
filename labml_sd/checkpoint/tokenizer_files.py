r"""The tokenizer of a model: in a folder, inside a single file, or by name from the hub.

Maps       a tokenizer <-> vocab.json and merges.txt, or one JSON text
Reference  the tokenizer folder of SD v1; tokenizers' own JSON for vocabulary and merges
Tests      tests/checkpoint/test_tokenizer_files.py
"""

import json
import tempfile
from os import PathLike
from pathlib import Path
from typing import Any

from labml_sd.checkpoint.hub import fetch_tokenizer
from labml_sd.config import TextEncoderConfig
from labml_sd.errors import CheckpointError, quoted
from labml_sd.text_encoder import load_tokenizer, save_tokenizer

CLIP_L_VOCAB = 49408  # all SD v1 models have this tokenizer, so their files omit it


def find_tokenizer(
    given: str | PathLike[str] | None, inside: Path | str | None, config: TextEncoderConfig
) -> Any:
    """Open the given folder, or the tokenizer inside the model, or CLIP's from the hub.

    Raises CheckpointError when there is none, or its size is not the text encoder's.
    """
    if not isinstance(given, str | PathLike | None):
        raise CheckpointError(
            f"tokenizer is {quoted(given)}; give the folder of a CLIP tokenizer"
        )
    if given is not None:
        place, tokenizer = str(given), _from_folder(given)
    elif isinstance(inside, Path):
        place, tokenizer = str(inside), load_tokenizer(inside)
    elif inside is not None:
        place, tokenizer = "the tokenizer inside the file", _from_text(inside)
    elif config.vocab_size == CLIP_L_VOCAB:
        place = str(fetch_tokenizer())
        tokenizer = load_tokenizer(place)
    else:
        raise CheckpointError(
            "this file contains no tokenizer; give its folder with tokenizer=<folder>"
        )
    if len(tokenizer) != config.vocab_size:
        n, wanted = len(tokenizer), config.vocab_size
        raise CheckpointError(
            f"{place}: {n} entries, the text encoder expects {wanted}; "
            "give the model's own tokenizer"
        )
    return tokenizer


def _from_folder(folder: str | PathLike[str]) -> Any:
    try:
        return load_tokenizer(folder)
    except (OSError, ValueError, TypeError) as error:  # a name that is too long, for example
        raise CheckpointError(
            f"tokenizer is not a path ({error}); give the folder of a CLIP tokenizer"
        ) from error


def tokenizer_text(tokenizer: Any) -> str:
    """Vocabulary and merges as one JSON text. CheckpointError if there is no tokenizer."""
    if tokenizer is None:
        raise CheckpointError(
            "the model has no tokenizer, and without one it could not be prompted; set it first"
        )
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = whole["model"]["vocab"] | {
        token["content"]: token["id"] for token in whole["added_tokens"]
    }
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in whole["model"]["merges"]
    ]
    return json.dumps(
        {"vocab": dict(sorted(vocab.items(), key=lambda item: item[1])), "merges": merges}
    )


def write_tokenizer(text: str, folder: Path, n_positions: int) -> None:
    """Write the files of a CLIP tokenizer folder. CheckpointError if `text` is damaged."""
    try:
        parts = json.loads(text)
        vocab = dict(parts["vocab"])
        merges = [
            (left, right) for left, right in (pair.split(" ") for pair in parts["merges"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "the tokenizer inside the file is damaged; give one with tokenizer=<folder>"
        ) from error
    save_tokenizer(folder, vocab, merges, n_positions)


def _from_text(text: str) -> Any:
    """transformers opens folders only, so the text is written to a temporary one."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(text, Path(folder), n_positions=77)
        return load_tokenizer(folder)
