r"""How strongly the parts of a prompt count: `(more)`, `[less]`, `(by hand:1.3)`.

Maps       text  ->  groups of (text, weight), one more than there are BREAKs
           z [n d], weights [n]  ->  z [n d]
Reference  AUTOMATIC1111 modules/prompt_parser.py (parse_prompt_attention) and
           modules/sd_emphasis.py; ComfyUI comfy/sd1_clip.py (token_weights)
Tests      tests/text_encoder/test_emphasis.py
"""

import math
import re
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

EMPHASES = ("a1111", "no_norm", "comfy", "ignore", "none")
MORE = 1.1  # the weight of a pair of round brackets; square ones divide by it

_PIECES = re.compile(
    r"\\[()\[\]\\]|\\|[(\[)\]]|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|[^\\()\[\]:]+|:"
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


class Segment(NamedTuple):
    """A piece of text, and the weight of its tokens."""

    text: str
    weight: float


def weighted(text: str) -> list[list[Segment]]:
    r"""The segments of a text, in groups that BREAK ends.

    `(x)` multiplies the weight by 1.1, `[x]` divides by it, `(x:1.3)` multiplies by 1.3. Nested
    brackets multiply. An open bracket that nothing closes holds to the end. `\(`, `\)`, `\[`,
    `\]` and `\\` are text. Neighbours of one weight are one segment. BREAK ends a group inside
    brackets too.
    """
    texts: list[str | None] = []  # None: BREAK
    ranges: list[tuple[int, int | None, float]] = []  # of texts, with what multiplies them
    round_open: list[int] = []
    square_open: list[int] = []
    for piece in _PIECES.finditer(text):
        word, number = piece[0], _finite(piece["weight"])
        if word == "(":
            round_open.append(len(texts))
        elif word == "[":
            square_open.append(len(texts))
        elif number is not None and round_open:
            ranges.append((round_open.pop(), len(texts), number))
        elif word == ")" and round_open:
            ranges.append((round_open.pop(), len(texts), MORE))
        elif word == "]" and square_open:
            ranges.append((square_open.pop(), len(texts), 1 / MORE))
        elif word[0] == "\\":
            texts.append(word[1:])
        else:
            texts += _with_breaks(word)
    ranges += [(start, None, MORE) for start in round_open]
    ranges += [(start, None, 1 / MORE) for start in square_open]
    return _grouped(texts, ranges)


def weighted_as_comfy(text: str) -> list[Segment]:
    r"""The segments of a text as ComfyUI reads it: round brackets only.

    `(x)` multiplies the weight by 1.1; in `(x:1.3)` the weight is 1.3 whatever stands around
    it. `\(` and `\)` are text, and so is a bracket without its partner.
    """
    weights = [1.0]
    found: list[Segment] = []
    for piece, weight in _comfy_pieces(text):
        if piece == "(":
            weights.append(weights[-1] * MORE if weight is None else weight)
        elif piece == ")":
            weights.pop()
        else:
            found.append(Segment(re.sub(r"\\([()])", r"\1", piece), weights[-1]))
    return found


def apply_weights(
    z: Float[Tensor, "n d"],
    weights: Sequence[float],
    emphasis: str,
    empty: Float[Tensor, "n d"] | None = None,
) -> Float[Tensor, "n d"]:
    r"""The embedding of one chunk of a prompt with the weights of its tokens, in z's dtype.

    "no_norm" multiplies: $z_i \leftarrow w_i z_i$. "a1111" then restores the mean of the chunk,

    $$ z \leftarrow \frac{\mathrm{mean}(z)}{\mathrm{mean}(w z)}\, w z $$

    "comfy" moves away from the embedding of the empty prompt, `empty`:

    $$ z_i \leftarrow e_i + w_i\, (z_i - e_i) $$

    Where all weights are 1, and with "ignore", z itself is returned.
    """
    if emphasis == "ignore" or all(weight == 1 for weight in weights):
        return z
    wide = z.to(torch.promote_types(z.dtype, torch.float32))
    w = torch.tensor(weights, dtype=wide.dtype, device=z.device)[:, None]  # [n 1]
    if emphasis == "comfy":
        assert empty is not None, "the emphasis of ComfyUI needs the empty prompt"
        e = empty.to(wide)
        return torch.where(w == 1, wide, e + w * (wide - e)).to(z.dtype)
    scaled = w * wide  # [n d]
    if emphasis == "a1111":
        scaled = scaled * (wide.mean() / scaled.mean())
    return scaled.to(z.dtype)


def _finite(text: str | None) -> float | None:
    """The number of a weight; None for what is none, as "1.2.3", or is too large."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _with_breaks(text: str) -> list[str | None]:
    first, *others = _BREAK.split(text)
    found: list[str | None] = [first]
    for other in others:
        found += [None, other]
    return found


def _grouped(
    texts: list[str | None], ranges: list[tuple[int, int | None, float]]
) -> list[list[Segment]]:
    # Inner brackets are multiplied first, as in the reference: the same rounding.
    weights = np.ones(len(texts))
    with np.errstate(over="ignore", invalid="ignore"):
        for start, end, factor in ranges:
            weights[start:end] *= factor
    groups: list[list[tuple[str, float]]] = [[]]
    for text, weight in zip(texts, weights.tolist(), strict=True):
        if text is None:
            groups.append([])
        else:
            groups[-1].append((text, weight))
    return [_merged(group) for group in groups]


def _merged(group: list[tuple[str, float]]) -> list[Segment]:
    """Neighbours of one weight joined; a group without text has one empty segment."""
    runs = groupby(group, key=lambda item: item[1])
    found = [Segment("".join(text for text, _ in run), weight) for weight, run in runs]
    return found or [Segment("", 1.0)]


def _comfy_pieces(text: str) -> list[tuple[str, float | None]]:
    """Text, and brackets that have a partner; an opening one with the weight that is given."""
    pieces = re.findall(r"(?:\\[()]|[^()\\]|\\)+|[()]", text)
    opened: list[int] = []
    closes: dict[int, int] = {}
    for i, piece in enumerate(pieces):
        if piece == "(":
            opened.append(i)
        elif piece == ")" and opened:
            closes[opened.pop()] = i
    partners = {**closes, **{end: start for start, end in closes.items()}}
    found: list[tuple[str, float | None]] = []
    dropped: dict[int, str] = {}  # texts that end in a weight, without it
    for i, piece in enumerate(pieces):
        if i not in partners:  # text; a bracket without its partner is escaped
            found.append((f"\\{piece}" if piece in "()" else dropped.get(i, piece), None))
            continue
        weight = None
        if piece == "(" and closes[i] > i + 1:
            before, colon, number = pieces[closes[i] - 1].rpartition(":")
            is_given = colon and (before or closes[i] > i + 2)  # not in "(:1.3)"
            weight = _finite(number) if is_given else None
            if weight is not None:
                dropped[closes[i] - 1] = before
        found.append((piece, weight))
    return found
