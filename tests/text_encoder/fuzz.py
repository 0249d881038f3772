r"""Random prompts through the tokenizer and through the parameters of a picture.

    python tests/text_encoder/fuzz.py --count 100000 --seed 0

Maps       a seed  ->  prompts of words, markers, symbols and invalid text  ->  the failures
Tests      tests/text_encoder/test_fuzz.py

Expected: 77 tokens of the vocabulary with markers only at the ends, one warning if something
was cut, and the same tokens for the prompt read back from a picture's parameters; or a
PromptError.
"""

import argparse
import random
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from labml_sd.errors import PromptError
from labml_sd.pipeline.parameters import GenerationParameters, parse_json, parse_text
from labml_sd.text_encoder.tokenizer import load_tokenizer, tokenize

BUNDLED = Path(__file__).parents[2] / "labml_sd/models/tiny/tokenizer"
PIECES = (
    *(
        "a",
        "red",
        "house",
        "The",
        "SNOW",
        "42",
        "don't",
        "naïve",
        "дом",
        "雪",
        "한국",
        "İ",
        "ß",
    ),
    *("ſ", "K", "<|startoftext|>", "<|endoftext|>", "<|END", "OFTEXT|>", "<|", "|>", "|"),
    *("</w>", "<unk>", "!", "\\", '"', "\n", "\r\n", "\t", "\0", "\x1b[2J", "\x7f", "\x85"),
    *("\x9b", "\u2028", "\ufeff", "\u00a0", "\u3000", " ", "e\u0301", "\u0301", "\u200d"),
    *("👩\u200d👩\u200d👧", "🏠", "🇪🇺", "\u202e", "\u2066", "\ud800", "\udfff", "\ufffe"),
    *("Steps: 20, Sampler: Euler a, Seed: 1, Size: 8x8", "Negative prompt: ", ", ", ": "),
    *("{", "}", "&amp;", "%s"),
)


def prompts(seed: int) -> Iterator[str]:
    """Endless: most are short, some have hundreds of pieces, a few repeat one piece."""
    choose = random.Random(seed)
    while True:
        kind = choose.random()
        if kind < 0.01:
            yield choose.choice(PIECES) * choose.randrange(1, 2000)
        elif kind < 0.3:  # any code points, surrogates too
            yield "".join(chr(choose.randrange(0x110000)) for _ in range(choose.randrange(30)))
        else:
            count = choose.randrange(300 if kind < 0.4 else 20)
            gap = choose.choice(["", " "])
            yield gap.join(choose.choice(PIECES) for _ in range(count))


def tokens(tokenizer: Any, prompt: str) -> tuple[list[int], list[str]]:
    """The row of ids, and the warnings."""
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        row = tokenize(tokenizer, prompt, n_positions=77, bos_id=start, eos_id=end)[0].tolist()
    return row, [str(each.message) for each in caught]


def failure(tokenizer: Any, prompt: str) -> str:
    """What is wrong with the result for one prompt; empty if nothing is."""
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    try:
        row, warned = tokens(tokenizer, prompt)
        words = row[1 : row.index(end)]
        if len(row) != 77 or row[0] != start or any(not 0 <= i < start for i in words):
            return "a marker inside, or a token outside the vocabulary"
        if warned and (len(warned) > 1 or len(words) < 75 or not warned[0].isprintable()):
            return "a needless warning, or one of several lines"
        drawn = GenerationParameters(
            prompt=prompt,
            settings={
                "negative_prompt": prompt,
                "steps": 2,
                "seed": 7,
                "width": 8,
                "height": 8,
            },
        )
        back = parse_json(drawn.to_json())
        joined = prompt.encode("utf-16-le", "surrogatepass").decode(
            "utf-16-le", "surrogatepass"
        )
        if back != replace(
            drawn, prompt=joined, settings={**drawn.settings, "negative_prompt": joined}
        ):
            return "another prompt was read back"
        if joined != prompt and tokens(tokenizer, joined)[0] != row:
            return "the prompt read back has other tokens"
        if parse_text(drawn.to_text()).steps != 2:
            return "the prompt changed the settings that other programs read"
    except PromptError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    return ""


def fuzz(tokenizer: Any, count: int, seed: int) -> Counter[str]:
    """The failures of `count` prompts, counted by kind, with the first prompt of each."""
    found, example = Counter[str](), dict[str, str]()
    for _, prompt in zip(range(count), prompts(seed), strict=False):
        if kind := failure(tokenizer, prompt):
            found[kind] += 1
            example.setdefault(kind, prompt)
    return Counter(
        {f"{kind}, as with {example[kind][:100]!r}": times for kind, times in found.items()}
    )


def main() -> int:
    """Print the failures; exit code 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokenizer", default=BUNDLED)
    args = parser.parse_args()
    found = fuzz(load_tokenizer(args.tokenizer), args.count, args.seed)
    for kind, times in found.most_common():
        print(f"{times:6} {kind}")
    print(f"{args.count:,} prompts, {len(found)} kinds of failure")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
