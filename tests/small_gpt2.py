"""A small GPT-2 with random weights, as a fixture."""

from pathlib import Path

import pytest
import torch

WORDS = "a red house in the snow at night boat blue sea moon , ; \n <end>".split(" ")


def tokenizer_json(words):
    """A tokenizer of whole words, which are joined by spaces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {
        ("Ġ" + word).replace("Ġ\n", "Ċ").replace("Ġ<", "<"): i for i, word in enumerate(words)
    }
    made = Tokenizer(models.WordLevel(vocab, unk_token="<end>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    return made


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a GPT-2 of 17 words and 32 positions."""
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("gpt2")
    sizes = {"n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = GPT2Config(vocab_size=len(WORDS), eos_token_id=len(WORDS) - 1, **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_json(WORDS), eos_token="<end>", bos_token="<end>"
    ).save_pretrained(folder)
    return folder
