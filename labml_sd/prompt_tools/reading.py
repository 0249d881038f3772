r"""How a prompt is read, as values to show: conditions, texts by step, chunks, tokens.

Maps       text, tokenizer  ->  PromptReading
Tests      tests/prompt_tools/test_reading.py
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labml_sd.config import TextEncoderConfig
from labml_sd.text_encoder.chunks import Token, Vectors, chunks_of
from labml_sd.text_encoder.prompt_grammar import ExtraNetwork, read_prompt
from labml_sd.text_encoder.prompt_schedule import Alternation, Edit, Nodes

DEPTH_SHOWN = 20  # of edits and alternations inside one another

Tree = list[str | dict[str, Any]]
"""Texts, {"before", "after", "when"} of edits and {"items"} of alternations."""


@dataclass(frozen=True)
class TokenReading:
    """A token: its text, as far as it is known, and whether it ends a word."""

    id: int
    text: str
    ends_word: bool
    weight: float
    embedding: str | None = None  # the name of the embedding that the token is a vector of


@dataclass(frozen=True)
class TextReading:
    """A text, the steps at which it holds, counted from 1, and the tokens of each chunk."""

    steps: tuple[int, ...]
    text: str
    chunks: tuple[tuple[TokenReading, ...], ...]


@dataclass(frozen=True)
class ConditionReading:
    """One of the texts that AND joins."""

    weight: float
    tree: Tree
    texts: tuple[TextReading, ...]


@dataclass(frozen=True)
class PromptReading:
    """How a prompt is read for a run of `n_steps`; `room` is the tokens of a chunk."""

    prompt: str
    emphasis: str
    n_steps: int
    room: int
    networks: tuple[ExtraNetwork, ...]
    conditions: tuple[ConditionReading, ...]


def prompt_reading(
    prompt: str,
    tokenizer: Any,
    config: TextEncoderConfig,
    *,
    emphasis: str = "a1111",
    n_steps: int = 20,
    several: bool = True,
    embeddings: Vectors | None = None,
) -> PromptReading:
    """Read a prompt as a run of `n_steps` does.

    `several=False` reads a negative prompt, in which AND is a word. Start and end markers and
    padding are left out. PromptError for an embedding that is asked for and not there.
    """
    read = read_prompt(prompt, emphasis, several=several)
    words = _Words(tokenizer, embeddings or {})
    steps = range(1, 1 + (n_steps if read.changes else 1))
    columns = zip(*(read.texts(step, n_steps) for step in steps), strict=True)
    conditions = []
    for condition, texts in zip(read.conditions, columns, strict=True):
        held: dict[str, list[int]] = {}
        for step, text in zip(steps, texts, strict=True):
            held.setdefault(text, []).append(step)
        if len(held) == 1:
            held = {texts[0]: [*range(1, n_steps + 1)]}
        readings = tuple(
            TextReading(
                tuple(at),
                text,
                tuple(
                    tuple(map(words.reading, chunk.inside))
                    for chunk in chunks_of(text, tokenizer, config, emphasis, embeddings)
                ),
            )
            for text, at in held.items()
        )
        conditions.append(
            ConditionReading(condition.weight, tree_of(condition.schedule), readings)
        )
    room = config.n_positions - 2
    return PromptReading(prompt, emphasis, n_steps, room, read.networks, tuple(conditions))


def tree_of(nodes: Nodes, depth: int = DEPTH_SHOWN) -> Tree:
    """Edits and alternations as plain values; what is nested deeper than `depth` is "..."."""
    return [*_tree(nodes, depth)]


def _tree(nodes: Nodes, depth: int) -> Iterator[str | dict[str, Any]]:
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif depth == 0:
            yield "..."
        elif isinstance(node, Edit):
            before, after = (tree_of(part, depth - 1) for part in (node.before, node.after))
            yield {"before": before, "after": after, "when": node.when}
        else:
            assert isinstance(node, Alternation)
            yield {"items": [tree_of(item, depth - 1) for item in node.items]}


class _Words:
    """What is said of the tokens of a chunk."""

    def __init__(self, tokenizer: Any, embeddings: Vectors) -> None:
        self.tokenizer = tokenizer
        # A token holds a row of the embedding's own tensor.
        self.names = {
            row.data_ptr(): name for name, vectors in embeddings.items() for row in vectors
        }

    def reading(self, token: Token) -> TokenReading:
        if token.vector is not None:
            name = self.names.get(token.vector.data_ptr())
            return TokenReading(token.id, f"<{name}>", True, token.weight, name)
        word = str(self.tokenizer.convert_ids_to_tokens(token.id))
        text = str(self.tokenizer.decode([token.id])).strip()
        return TokenReading(token.id, text, word.endswith("</w>"), token.weight)
