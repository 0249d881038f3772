r"""Learns a tokenizer like CLIP's from captions: byte-level byte pair encoding (BPE).

Maps       captions  ->  vocabulary (token -> id), merges in the order they were learnt
Paper      Sennrich et al. 2016, arXiv:1508.07909, algorithm 1
Reference  CLIP's simple_tokenizer.py: order of the vocabulary, end-of-word marker
Tests      tests/training/test_learn_bpe.py
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import pairwise

from labml_sd.text_encoder.tokenizer import END, START

END_OF_WORD = "</w>"

# CLIP's pattern: contractions, runs of letters, single digits, runs of anything else.
# `[^\W\d_]` is a letter.
_WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")

Pair = tuple[str, str]


@cache
def byte_symbols() -> dict[int, str]:
    """A printable character for each of the 256 bytes, in GPT-2's order.

    Bytes that are printable stand for themselves and come first; the others follow.
    """
    visible = [byte for byte in range(256) if chr(byte).isprintable() and byte != ord(" ")]
    hidden = [byte for byte in range(256) if byte not in visible]
    others = {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    return {byte: chr(byte) for byte in visible} | others


def split_words(caption: str) -> list[str]:
    """Split a caption into words, lower-cased, in byte symbols, as CLIP splits ASCII text.

    Merges never cross a boundary between words.
    """
    symbols, words = byte_symbols(), _WORD.findall(caption.lower())
    return ["".join(symbols[byte] for byte in word.encode()) for word in words]


def learn_bpe(captions: Iterable[str], vocab_size: int) -> tuple[dict[str, int], list[Pair]]:
    """Merge the most frequent pair of neighbouring symbols, until `vocab_size` is reached.

    Ids: the 256 byte symbols, the same at the end of a word, one for each merge, start of text,
    end of text. Among equally frequent pairs the alphabetically first is merged. The vocabulary
    stays smaller when every word has become one token. All pairs are counted again after each
    merge, which is fast enough for a small language. Raises ValueError if `vocab_size` is too
    small for the bytes and the two special tokens.
    """
    letters = list(byte_symbols().values())
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters)]
    n_merges = vocab_size - len(tokens) - 2
    if n_merges < 0:
        raise ValueError(
            f"vocab_size is {vocab_size}: the bytes and the two special tokens need "
            f"{len(tokens) + 2}; give a larger one"
        )

    counts = Counter(word for caption in captions for word in split_words(caption))
    words = {word: [*word[:-1], word[-1] + END_OF_WORD] for word in counts}
    merges: list[Pair] = []
    while len(merges) < n_merges:
        pairs: Counter[Pair] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: merge(symbols, best) for word, symbols in words.items()}

    # Two merges can give the same token ("a" + "bc", "ab" + "c"), which has only one id.
    names = dict.fromkeys([*tokens, *(left + right for left, right in merges), START, END])
    return {token: i for i, token in enumerate(names)}, merges


def merge(symbols: list[str], pair: Pair) -> list[str]:
    """`symbols` with every occurrence of `pair` merged, from left to right."""
    joined: list[str] = []
    for symbol in symbols:
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return joined
