r"""A causal language model, as GPT-2, from a folder or the Hugging Face hub.

Maps       folder or hub id -> LanguageModel;  token ids -> logits of the next token [v]
Reference  transformers' AutoModelForCausalLM and AutoTokenizer, which are used here
Tests      tests/prompt_tools/test_language_model.py
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.checkpoint.transformers_folder import (
    config_of,
    find_folder,
    load_network,
    load_words,
)
from labml_sd.errors import CheckpointError, PromptError, quoted


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
    folder = find_folder(source, "a causal language model", bare_names=True)
    _check_kind(folder)
    tokenizer = load_words(folder)
    from transformers import AutoModelForCausalLM  # which takes seconds

    cpu = torch.device("cpu")
    network = load_network(AutoModelForCausalLM, folder, cpu, torch.float32)
    return LanguageModel(str(source), network, tokenizer)


def _check_kind(folder: Path) -> None:
    """CheckpointError for a folder that does not hold a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = config_of(folder)
    if config["model_type"] not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise CheckpointError(
            f"{folder}: a model of type {quoted(config['model_type'])} is no causal language "
            "model that transformers knows; give one, GPT-2 for example"
        )
    causal = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    written = config.get("architectures") or []
    if written and causal.isdisjoint(map(str, written)):
        raise CheckpointError(
            f"{folder}: is a {quoted(written[0])}, which does not continue texts; "
            "give a causal language model, GPT-2 for example"
        )
