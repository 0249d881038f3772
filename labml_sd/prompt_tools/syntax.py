r"""How a template is read: `{red|blue}`, `{2$$a|b|c}`, `{0.5::a|b}`, `__colour__`.

Only braces, the bars between them and wildcards are marks here. Round and square brackets,
colons, `<lora:...>`, AND and BREAK stay as they are written, for the prompt grammar.

Maps       text  ->  text, Choice and Wildcard, one after the other
Reference  the syntax that the extension sd-dynamic-prompts documents
Tests      tests/prompt_tools/test_syntax.py
"""

import re
from dataclasses import dataclass, field

from labml_sd.errors import PromptError

MAX_DEPTH = 64  # braces inside braces, wildcards inside wildcards
ALL = 10**9  # options: more than a text can hold

# An escape, a mark, a wildcard that does not begin inside a word, other text.
_PIECES = re.compile(
    r"\\(?:__|.)|[{}|\[\]]|(?<!\w)__(?P<name>[^\W_*][\w.*/-]{0,199}?|\*[\w.*/-]{0,199}?)__"
    r"|[^\\{}|\[\]_]+|.",
    re.DOTALL,
)
_MARK = re.compile(r"[\\{]|__")
_ESCAPES = {r"\{": "{", r"\}": "}", r"\__": "__"}
_WEIGHT = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})::")
_COUNT = re.compile(r"\s*(?:(\d{1,9})|(\d{0,9})-(\d{0,9}))\$\$")


@dataclass(frozen=True)
class Wildcard:
    """`__name__`: an entry of a file; `*` in the name stands for any characters."""

    name: str


@dataclass(frozen=True, eq=False)
class Option:
    """What a choice can give, and how often in relation to the others."""

    parts: "tuple[str | Wildcard | Choice, ...]"
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Choice:
    """Some of its options, `low` to `high` of them, in any order, with `separator` between."""

    options: tuple[Option, ...]
    low: int = 1
    high: int = 1
    separator: str = ", "


Parts = tuple[str | Wildcard | Choice, ...]
"""Parts of a template, one after the other."""


def parse_template(text: str) -> Parts:
    r"""The parts of a template. Every text has them: a brace without its partner is text.

    A bar inside a pair of square brackets belongs to it, as in `{[a|b]|c}`. `\{`, `\}` and
    `\__` are text, and so is `\|` inside braces. Time and memory are proportional to the
    length. PromptError for braces that are nested more than 64 deep.
    """
    if not _MARK.search(text):
        return (text,) if text else ()
    pieces = [*_PIECES.finditer(text)]
    paired = _pairs([piece[0] for piece in pieces])
    frames = [_Frame()]
    for i, piece in enumerate(pieces):
        frame, word = frames[-1], piece[0]
        if piece["name"] is not None:
            frame.add(Wildcard(piece["name"]))
        elif word == "{" and i in paired:
            if len(frames) > MAX_DEPTH:
                raise PromptError(
                    f"braces are nested more than {MAX_DEPTH} deep: write fewer inside others"
                )
            frames.append(_Frame())
        elif word == "}" and i in paired:
            frames.pop()
            frames[-1].add(frame.closed())
        elif word == "|" and len(frames) > 1 and not frame.square:
            frame.options.append([])
        else:
            frame.square += {"[": 1, "]": -1}.get(word, 0) if i in paired else 0
            is_bar = word == r"\|" and len(frames) > 1
            frame.add("|" if is_bar else _ESCAPES.get(word, word))
    return _joined(frames[0].options[0])


def parse_entry(text: str) -> Option:
    """An entry of a wildcard file: a template, which may begin with a weight, as in `0.5::`."""
    return _option(parse_template(text))


def _pairs(words: list[str]) -> set[int]:
    """The places of brackets that have a partner.

    Braces are stronger: a square bracket that is open where they close is text.
    """
    opened: dict[str, list[int]] = {"{": [], "[": []}
    found: set[int] = set()
    for i, word in enumerate(words):
        if word in opened:
            opened[word].append(i)
        elif word == "}" and opened["{"]:
            start = opened["{"].pop()
            while opened["["] and opened["["][-1] > start:
                opened["["].pop()
            found |= {start, i}
        elif word == "]" and opened["["] and opened["["][-1] > [-1, *opened["{"][-1:]][-1]:
            found |= {opened["["].pop(), i}
    return found


@dataclass
class _Frame:
    """What stands after an open brace, divided by bars, and how many `[` are open."""

    options: list[list[str | Wildcard | Choice]] = field(default_factory=lambda: [[]])
    square: int = 0

    def add(self, part: str | Wildcard | Choice) -> None:
        self.options[-1].append(part)

    def closed(self) -> Choice:
        options = [_joined(option) for option in self.options]
        first = options[0]
        head = first[0] if first and isinstance(first[0], str) else ""
        count = _COUNT.match(head)
        if count is None:
            return Choice(tuple(map(_option, options)))
        *separator, rest = re.split(r"\$\$", head[count.end() :], maxsplit=1)
        options[0] = (rest, *first[1:]) if rest else first[1:]
        return Choice(tuple(map(_option, options)), *_bounds(*count.groups()), *separator)


def _bounds(exactly: str | None, low: str | None, high: str | None) -> tuple[int, int]:
    """How many options `2`, `1-2`, `-2` and `1-` ask for."""
    if exactly is not None:
        return int(exactly), int(exactly)
    ends = int(low or 1), int(high or ALL)
    return min(ends), max(ends)


def _option(parts: Parts) -> Option:
    head = parts[0] if parts and isinstance(parts[0], str) else ""
    weight = _WEIGHT.match(head)
    if weight is None:
        return Option(parts)
    rest = head[weight.end() :]
    return Option((rest, *parts[1:]) if rest else parts[1:], float(weight[1]))


def _joined(parts: list[str | Wildcard | Choice]) -> Parts:
    """The same with neighbouring texts joined."""
    found: list[str | Wildcard | Choice] = []
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
            continue
        found += ["".join(texts), part] if texts else [part]
        texts = []
    return (*found, "".join(texts)) if texts else tuple(found)
