r"""A causal language model, as GPT-2, from a folder or the Hugging Face hub.

No code that comes with a model is run: transformers' own classes read it, weights in
safetensors files are preferred, and others are read by PyTorch's `weights_only` reader.

Maps       folder or hub id -> LanguageModel;  token ids -> logits of the next token [v]
Reference  transformers' AutoModelForCausalLM and AutoTokenizer, which are used here
Tests      tests/prompt_tools/test_language_model.py
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import CheckpointError, PromptError, one_line, quoted

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_TEXTS = ("*.json", "*.txt", "*.model", "*.jinja")  # configuration and tokenizer
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")
_SHOWN = 200  # characters of another library's message


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model on the CPU, in float32, with its tokenizer."""

    name: str
    network: Any
    tokenizer: Any

    @property
    def n_positions(self) -> int:
        """The most tokens that the model reads."""
        return int(getattr(self.network.config, "max_position_embeddings", None) or 2**20)

    @property
    def ends(self) -> set[int]:
        """The tokens that end a text."""
        configured = self.network.generation_config.eos_token_id
        several = configured if isinstance(configured, list) else [configured]
        return {token for token in (*several, self.tokenizer.eos_token_id) if token is not None}

    def ids(self, text: str) -> list[int]:
        """The tokens of a text; of an empty one, the start marker.

        PromptError if it fills the model, or is empty and there is no marker; CheckpointError
        for a tokenizer that is another model's.
        """
        plain = text.encode("utf-8", "replace").decode("utf-8")  # halves of surrogate pairs
        found = list(self.tokenizer(plain, verbose=False)["input_ids"])
        if not found:
            starts = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
            found = [token for token in starts if token is not None][:1]
        if not found:
            raise PromptError(f"{self.name} cannot begin with an empty prompt: give some words")
        if max(found) >= self.network.get_input_embeddings().num_embeddings:
            raise CheckpointError(f"{self.name}: its tokenizer has more tokens than the model")
        if len(found) >= self.n_positions:
            raise PromptError(
                f"the prompt has {len(found)} tokens, and {self.name} reads "
                f"{self.n_positions}: shorten it"
            )
        return found

    def text_after(self, ids: Sequence[int], new: Sequence[int]) -> str:
        """The text that `new` tokens add to that of `ids`."""
        return self._text([*ids, *new])[len(self._text(ids)) :]

    def _text(self, ids: Sequence[int]) -> str:
        options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
        return str(self.tokenizer.decode(list(ids), **options))

    @torch.inference_mode()
    def next(self, ids: Sequence[int], state: Any = None) -> tuple[Float[Tensor, " v"], Any]:
        """Logits of the token after `ids`; `state` holds what was read before them.

        CheckpointError if they are not numbers.
        """
        read = torch.tensor([list(ids)], device="cpu")
        found = self.network(input_ids=read, past_key_values=state, use_cache=True)
        logits = found.logits[0, -1].float()  # [v]
        if torch.isnan(logits).any():
            raise CheckpointError(f"{self.name}: gives NaN, so its weights are damaged")
        return logits, found.past_key_values


def load_language_model(source: str | PathLike[str]) -> LanguageModel:
    """Load a causal language model: a folder as transformers writes it, or a hub id.

    CheckpointError for what is no such model, one without a tokenizer, and one that can be had
    neither from the hub nor from its cache.
    """
    name, folder = str(source), _folder(source)
    _check_kind(name, folder)
    from transformers import AutoModelForCausalLM, AutoTokenizer  # which takes seconds

    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quietly():
            tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    except Exception as error:
        raise CheckpointError(
            f"{name}: its tokenizer cannot be read ({_reason(error)}); get it again"
        ) from error
    try:
        with _quietly():
            network, info = AutoModelForCausalLM.from_pretrained(
                folder,
                **safe,
                dtype=torch.float32,
                use_safetensors=any(folder.glob(_WEIGHTS[0])),
                weights_only=True,
                output_loading_info=True,
            )
    except Exception as error:
        raise CheckpointError(f"{name}: cannot be loaded ({_reason(error)})") from error
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(
            f"{name}: {len(missing)} weights are missing, {missing[0]} for one; "
            "give a complete causal language model"
        )
    return LanguageModel(name, network.eval(), tokenizer)


def _folder(source: str | PathLike[str]) -> Path:
    """The folder with the files of a model."""
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            return path
        exists = path.exists()
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{quoted(source)} is not a path ({error}): give a folder or a hub id"
        ) from error
    if exists or _HUB_ID.fullmatch(str(source)) is None:
        raise CheckpointError(
            f"{source} is no folder: give that of a causal language model, or a hub id"
        )
    return _fetched(str(source))


def _fetched(hub_id: str) -> Path:
    """The folder of a model of the hub, with safetensors if there are any.

    Other files, such as code, are not downloaded.
    """
    import huggingface_hub

    for weights in _WEIGHTS:
        patterns = [*_TEXTS, weights]
        try:
            folder = huggingface_hub.snapshot_download(
                hub_id, allow_patterns=patterns, ignore_patterns=["*/*"]
            )
        except Exception as error:
            raise CheckpointError(
                f"{hub_id}: is no folder, and cannot be downloaded ({_reason(error)}); when "
                f"online, run: hf download {hub_id}"
            ) from error
        if any(Path(folder).glob(weights)):
            break
    return Path(folder)


def _check_kind(name: str, folder: Path) -> None:
    """CheckpointError for a folder that does not hold a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{name}: has no config.json that can be read; give a causal language model"
        ) from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind is None or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise CheckpointError(
            f"{name}: a model of type {quoted(kind)} is no causal language model that "
            "transformers knows; give one, GPT-2 for example"
        )
    causal = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    written = config.get("architectures") or []
    if written and causal.isdisjoint(map(str, written)):
        raise CheckpointError(
            f"{name}: is a {quoted(written[0])}, which does not continue texts; "
            "give a causal language model, GPT-2 for example"
        )
    if not _has(folder, _WEIGHTS):
        raise CheckpointError(f"{name}: has neither {' nor '.join(_WEIGHTS)}; get it again")
    if not _has(folder, _VOCABULARIES):  # transformers would make an empty one
        raise CheckpointError(
            f"{name}: has no tokenizer; copy tokenizer.json, or the files that it has instead, "
            "into the folder"
        )


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
