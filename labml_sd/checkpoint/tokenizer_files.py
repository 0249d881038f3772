r"""The tokenizer of a model: in a folder, inside a single file, or CLIP's, which is bundled.

Maps       a tokenizer <-> vocab.json and merges.txt, or one JSON text
Reference  the tokenizer folder of SD v1; tokenizers' own JSON for vocabulary and merges
Tests      tests/checkpoint/test_tokenizer_files.py
"""

import json
import tempfile
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from labml_sd.config import TextEncoderConfig
from labml_sd.errors import CheckpointError, quoted
from labml_sd.text_encoder import load_tokenizer, save_tokenizer
from labml_sd.text_encoder.tokenizer import END

CLIP_L_VOCAB = 49408  # all SD models have this tokenizer, so their files omit it
CLIP_TOKENIZER = Path(str(files("labml_sd"))) / "models" / "clip_tokenizer"


def find_tokenizer(
    given: str | PathLike[str] | None, inside: Path | str | None, config: TextEncoderConfig
) -> Any:
    """Open the given folder, or the tokenizer inside the model, or CLIP's.

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
        place = str(CLIP_TOKENIZER)
        tokenizer = load_tokenizer(CLIP_TOKENIZER)
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


def padding_id(folder: Path) -> int | None:
    """The token that a tokenizer's folder pads prompts with; None for its end marker.

    SD v2 pads with token 0, "!". Raises CheckpointError if the vocabulary lacks the padding.
    """
    named = _json(folder / "special_tokens_map.json") | _json(folder / "tokenizer_config.json")
    pad, end = (_content(named.get(name)) for name in ("pad_token", "eos_token"))
    if not pad or pad in (END, end):
        return None
    whole = _json(folder / "tokenizer.json")
    vocab = _json(folder / "vocab.json") or whole.get("model", {}).get("vocab", {})
    found = vocab.get(pad)
    if type(found) is not int:
        raise CheckpointError(
            f"{folder}: its padding, {quoted(pad)}, is not in the vocabulary; get it again"
        )
    return found


def _content(token: Any) -> str:
    """The text of a special token, which files store as a text or as a dictionary."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty for a missing file, or one with something else."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


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


def write_tokenizer(
    text: str, folder: Path, n_positions: int, pad_id: int | None = None
) -> None:
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
    save_tokenizer(folder, vocab, merges, n_positions, pad_id)


def _from_text(text: str) -> Any:
    """transformers opens folders only, so the text is written to a temporary one."""
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(text, Path(folder), n_positions=77)
        return load_tokenizer(folder)
