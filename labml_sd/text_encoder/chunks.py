r"""A prompt of any length as chunks that the text transformer can encode, one after another.

Maps       text  ->  chunks of 77 token ids, with the weight of each token
Reference  AUTOMATIC1111 modules/sd_hijack_clip.py (tokenize_line); ComfyUI comfy/sd1_clip.py
           (tokenize_with_weights)
Tests      tests/text_encoder/test_chunks.py
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from labml_sd.config import TextEncoderConfig
from labml_sd.errors import PromptError
from labml_sd.text_encoder.emphasis import Segment, weighted, weighted_as_comfy
from labml_sd.text_encoder.tokenizer import cut_off, framed, plain_ids

BACKTRACK = 20  # tokens that move to the next chunk, to begin it after a comma
MAX_CHUNKS = 64  # of one prompt
LONG_WORD = 8  # tokens: ComfyUI moves shorter words to the next chunk whole

Vectors = Mapping[str, Float[Tensor, "k d"]]
"""Embeddings by name: a name in a prompt stands for its k vectors."""


@dataclass(frozen=True, eq=False)
class Token:
    """A token of a prompt. With a `vector` it is one of an embedding, whatever the id."""

    id: int
    weight: float = 1.0
    vector: Float[Tensor, " d"] | None = None


@dataclass(frozen=True, eq=False)
class Chunk:
    """Start marker, up to 75 tokens of the text, end marker, padding."""

    tokens: tuple[Token, ...]
    n_inside: int

    @property
    def inside(self) -> tuple[Token, ...]:
        """The tokens of the text."""
        return self.tokens[1 : 1 + self.n_inside]

    @property
    def ids(self) -> list[int]:
        """The ids, one for each position of the text transformer."""
        return [token.id for token in self.tokens]

    @property
    def weights(self) -> list[float]:
        """The weights of the tokens."""
        return [token.weight for token in self.tokens]


@dataclass
class _Packer:
    """Fills chunks of at most `room` tokens."""

    config: TextEncoderConfig
    done: list[Chunk] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)

    @property
    def room(self) -> int:
        return self.config.n_positions - 2

    @property
    def left(self) -> int:
        return self.room - len(self.tokens)

    def close(self) -> None:
        """End the chunk, and begin another."""
        c = self.config
        pad = None if c.pad_id is None else Token(c.pad_id)
        row = framed(self.tokens, c.n_positions, Token(c.bos_id), Token(c.eos_id), pad)
        self.done.append(Chunk(tuple(row), len(self.tokens)))
        self.tokens = []


def chunks_of(
    text: str,
    tokenizer: Any,
    config: TextEncoderConfig,
    emphasis: str = "a1111",
    embeddings: Vectors | None = None,
) -> list[Chunk]:
    """The chunks of a text, one at least.

    As in AUTOMATIC1111, a chunk that is full ends at its last comma if that is among the last
    20 tokens, and BREAK ends it early. With `emphasis` "comfy" it ends between words. A name
    of `embeddings` that stands alone, not inside a word, is replaced by its vectors, which are
    never divided between chunks; so is ComfyUI's `embedding:name`. PromptError for such a name
    that `embeddings` has not, and for one with more vectors than a chunk holds.

    A text of more than `MAX_CHUNKS` chunks is cut, with a warning.
    """
    names = _Names(embeddings or {}, config.n_positions - 2)
    if emphasis == "comfy":
        words = [word for s in weighted_as_comfy(text) for word in _words(s, tokenizer, names)]
        chunks = _packed_by_words(words, config)
    else:
        groups = [[Segment(text, 1.0)]] if emphasis == "none" else weighted(text)
        units = [
            [unit for segment in group for unit in _units(segment, tokenizer, names)]
            for group in groups
        ]
        comma = tokenizer.get_vocab().get(",</w>")
        chunks = _packed_by_commas(units, config, comma)
    return _at_most(MAX_CHUNKS, chunks, tokenizer)


def _packed_by_commas(
    groups: Sequence[Sequence[Sequence[Token]]], config: TextEncoderConfig, comma: int | None
) -> list[Chunk]:
    """Chunks of units, which are not divided: a token, or the vectors of an embedding."""
    packer = _Packer(config)
    after_comma = -1  # where the text after the last comma of the chunk begins
    for i, group in enumerate(groups):
        if i:  # BREAK
            packer.close()
            after_comma = -1
        for unit in group:
            is_comma = len(unit) == 1 and unit[0].id == comma and unit[0].vector is None
            if len(unit) > packer.left:
                since = len(packer.tokens) - after_comma
                is_near = after_comma >= 0 and since < BACKTRACK and packer.left == 0
                begun = packer.tokens[after_comma:] if is_near and not is_comma else []
                del packer.tokens[len(packer.tokens) - len(begun) :]
                packer.close()
                packer.tokens, after_comma = begun, -1
                if len(unit) > packer.left:
                    packer.close()
            packer.tokens += unit
            if is_comma:
                after_comma = len(packer.tokens)
    if packer.tokens or not packer.done:
        packer.close()
    return packer.done


def _packed_by_words(
    words: Sequence[Sequence[Token]], config: TextEncoderConfig
) -> list[Chunk]:
    """Chunks of words; a word of 8 tokens or more may be divided."""
    packer = _Packer(config)
    for word in words:
        left = list(word)
        while len(left) > packer.left:
            if len(word) >= LONG_WORD and word[0].vector is None:
                n = packer.left
                packer.tokens += left[:n]
                left = left[n:]
            packer.close()
        packer.tokens += left
    packer.close()
    return packer.done


class _Names:
    """Finds the names of embeddings in a text."""

    def __init__(self, embeddings: Vectors, room: int) -> None:
        longest_first = sorted(embeddings, key=len, reverse=True)
        self.vectors = [
            (re.compile(re.escape(name), re.IGNORECASE), embeddings[name])
            for name in longest_first
        ]
        self.names = sorted(embeddings)
        for name, vectors in embeddings.items():
            if len(vectors) > room:
                raise PromptError(
                    f"embedding {name!r} has {len(vectors)} vectors: a chunk of a prompt "
                    f"holds {room}"
                )
        either = "|".join(map(re.escape, longest_first)) or r"(?!)"
        # Not inside a word, as "cat" in "cats" or "bobcat".
        self.pattern = re.compile(
            rf"(?<!\w)(?:embedding:)?({either})(?!\w)|\bembedding:([\w.-]+)", re.IGNORECASE
        )

    def pieces(self, text: str) -> Iterator[str | Float[Tensor, "k d"]]:
        """The text between names, and the vectors of each name."""
        at = 0
        for found in self.pattern.finditer(text):
            if found[2] is not None:
                there = ", ".join(self.names) or "none"
                raise PromptError(
                    f"there is no embedding {found[2]!r}: give its file as `embeddings`; "
                    f"there are: {there}"
                )
            yield text[at : found.start()]
            # Letter case has more rules than lower(): the pattern that found it decides.
            yield next(vectors for name, vectors in self.vectors if name.fullmatch(found[1]))
            at = found.end()
        yield text[at:]


def _units(segment: Segment, tokenizer: Any, names: _Names) -> Iterator[list[Token]]:
    """What is not divided: each token, and all vectors of an embedding."""
    for piece in names.pieces(segment.text):
        if isinstance(piece, str):
            yield from ([Token(i, segment.weight)] for i in plain_ids(tokenizer, piece))
        else:
            yield [Token(0, segment.weight, vector) for vector in piece]


def _words(segment: Segment, tokenizer: Any, names: _Names) -> Iterator[list[Token]]:
    """The tokens of each word, and all vectors of an embedding."""
    for piece in names.pieces(segment.text):
        if isinstance(piece, str):
            for word in filter(None, piece.split(" ")):
                yield [Token(i, segment.weight) for i in plain_ids(tokenizer, word)]
        else:
            yield [Token(0, segment.weight, vector) for vector in piece]


def _at_most(n: int, chunks: list[Chunk], tokenizer: Any) -> list[Chunk]:
    if len(chunks) > n:
        lost = [token.id for chunk in chunks[n:] for token in chunk.inside]
        warnings.warn(cut_off(tokenizer, lost), stacklevel=2)
    return chunks[:n]
