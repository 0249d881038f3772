r"""Prompts that change during a run: `[a:b:0.5]` edits, `[a|b]` alternates.

A pair of square brackets that is neither stays in the text: there it is emphasis.

Maps       text  ->  a tree of Edit, Alternation and text;  the tree, a step  ->  text
Reference  AUTOMATIC1111 modules/prompt_parser.py, get_learned_conditioning_prompt_schedules
Tests      tests/text_encoder/test_prompt_schedule.py
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

# An escaped character, a mark, other text, a backslash at the end.
_PIECES = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_CLOSES = {"]": "[", ")": "("}


class Node(ABC):
    """A part of a prompt that is more than text: an Edit, an Alternation, or a Group."""

    @abstractmethod
    def at(self, step: int, n_steps: int) -> "Nodes":
        """What holds at a step of `n_steps`, counted from 1."""


Nodes = tuple[str | Node, ...]
"""Parts of a prompt, one after the other."""


@dataclass(frozen=True)
class Group(Node):
    """Parts in brackets that are text. Only a tree in the making has groups."""

    nodes: Nodes

    def at(self, step: int, n_steps: int) -> Nodes:
        """All parts, at every step."""
        return self.nodes


@dataclass(frozen=True)
class Edit(Node):
    """`[before:after:when]`: `before` up to step `when`, `after` from then on.

    Steps count from 1. `when` written with a point, as in 0.5, is a share of all steps.
    `[after:when]` starts late, `[before::when]` ends early.
    """

    before: Nodes
    after: Nodes
    when: str

    def at(self, step: int, n_steps: int) -> Nodes:
        """The part that holds at a step."""
        last = float(self.when) * (n_steps if "." in self.when else 1)
        return self.before if step <= last else self.after


@dataclass(frozen=True)
class Alternation(Node):
    """`[a|b]`: at each step the next item, again and again. An item may be empty."""

    items: tuple[Nodes, ...]

    def at(self, step: int, n_steps: int) -> Nodes:
        """The item that holds at a step, counted from 1."""
        return self.items[(step - 1) % len(self.items)]


def parse_schedule(text: str) -> Nodes:
    """The tree of a text. Any text has one: what is no edit and no alternation is text.

    Time and memory are proportional to the length, however deep brackets are nested.
    """
    frames = [_Frame("")]
    for piece in _PIECES.findall(text):
        frame = frames[-1]
        if piece in ("[", "("):
            frames.append(_Frame(piece))
        elif piece in _CLOSES and frame.bracket == _CLOSES[piece]:
            frames.pop()
            frames[-1].add(frame.closed(piece))
        elif piece in _CLOSES:  # it closes nothing, and nothing around it can be a pair
            _unwind(frames)
            frames[-1].add(piece)
        elif piece in (":", "|") and frame.bracket == "[":
            frame.separate(piece)
        else:
            frame.add(piece)
    _unwind(frames)
    return flat(frames[0].parts[0])


def text_at(nodes: Nodes, step: int, n_steps: int) -> str:
    """The text that holds at a step of `n_steps`, counted from 1."""
    texts: list[str] = []
    left = [*reversed(nodes)]
    while left:
        node = left.pop()
        if isinstance(node, str):
            texts.append(node)
        else:
            left.extend(reversed(node.at(step, n_steps)))
    return "".join(texts)


def changes(nodes: Nodes) -> bool:
    """Whether the text depends on the step."""
    return not all(isinstance(node, str) for node in flat(nodes))


def flat(nodes: Sequence[str | Node]) -> Nodes:
    """The same without groups, and with neighbouring texts joined."""
    found: list[str | Node] = []
    texts: list[str] = []
    for node in chain(_leaves(nodes), [None]):
        if isinstance(node, str):
            texts.append(node)
            continue
        if texts:
            found.append("".join(texts))
            texts = []
        if node is not None:
            found.append(node)
    return tuple(found)


def _leaves(nodes: Sequence[str | Node]) -> Iterator[str | Node]:
    left = [*reversed(nodes)]
    while left:
        node = left.pop()
        if isinstance(node, Group):
            left.extend(reversed(node.nodes))
        else:
            yield node


@dataclass
class _Frame:
    """An open bracket, and what stands after it: parts between separators."""

    bracket: str
    parts: list[list[str | Node]] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)

    def add(self, node: str | Node) -> None:
        self.parts[-1].append(node)

    def separate(self, separator: str) -> None:
        self.separators.append(separator)
        self.parts.append([])

    def literal(self) -> list[str | Node]:
        """The bracket and what follows it, as it was written."""
        found: list[str | Node] = [self.bracket]
        for part, separator in zip_longest(self.parts, self.separators, fillvalue=""):
            found += [*part, separator]
        return found

    def closed(self, bracket: str) -> Node:
        """What the pair of brackets stands for."""
        if ":" in self.separators:
            return self._edit() or Group((*self.literal(), bracket))
        if self.separators:
            return Alternation(tuple(map(flat, self.parts)))
        return Group((*self.literal(), bracket))

    def _edit(self) -> Edit | None:
        """`[after:when]` or `[before:after:when]`; a `|` in it is text."""
        *texts, last = self._between_colons()
        word = last[0] if len(last) == 1 and isinstance(last[0], str) else ""
        when = _NUMBER.fullmatch(word)
        if when is None or len(texts) > 2:
            return None
        before, after = ((), *texts) if len(texts) == 1 else texts
        return Edit(before, after, when[1])

    def _between_colons(self) -> list[Nodes]:
        found: list[list[str | Node]] = [list(self.parts[0])]
        for separator, part in zip(self.separators, self.parts[1:], strict=True):
            if separator == ":":
                found.append(list(part))
            else:
                found[-1] += [separator, *part]
        return [flat(nodes) for nodes in found]


def _unwind(frames: list[_Frame]) -> None:
    """Brackets that nothing closes are text."""
    for frame in frames[1:]:
        frames[0].add(Group(tuple(frame.literal())))
    del frames[1:]
