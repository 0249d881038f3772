r"""Many prompts of one: at random, or all that there are.

Maps       template, seed -> prompts
Reference  sd-dynamic-prompts: its random and its combinatorial generation
Tests      tests/prompt_tools/test_variants.py
"""

import math
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest
from itertools import accumulate, islice, permutations
from os import PathLike
from random import Random

from labml_sd.errors import PromptError, quoted
from labml_sd.prompt_tools.syntax import MAX_DEPTH, Choice, Parts, Wildcard, parse_template
from labml_sd.prompt_tools.wildcards import Wildcards, bound, too_deep
from labml_sd.utilities.numbers import whole_number

MAX_VARIANTS = 10_000  # of one call
MAX_LENGTH = 2**16  # characters of a template and of a variant: a prompt is read so far
MAX_STEPS = 2**16  # parts that one variant can have
MAX_WORK = 2**26  # characters and parts of all variants of a call
MANY = 10**15  # combinations are counted up to here


def prompt_variants(
    prompt: str,
    n: int | None = None,
    *,
    seed: int = 0,
    wildcards: str | PathLike[str] | Wildcards | None = None,
    combinatorial: bool = False,
    first: int = 0,
) -> list[str]:
    r"""Prompts with one of the options for each `{red|blue}` and `__wildcard__`.

    `{2$$a|b|c}` gives two different options in any order, `{1-2$$...}` one or two, and
    `{2$$ and $$a|b|c}` puts " and " between them; `{0.5::a|b}` gives a half as often as b.
    `__colour__` gives a line of colour.txt in the folder `wildcards`, where `__toys/car__` is
    toys/car.txt. Lines may contain all of this. `\{`, `\}`, `\|` and `\__` are text.

    Without `combinatorial`, `n` (None: 1) random variants; number i depends on the seed and on
    `first` + i alone. With it, the first `n` of all combinations, or all of them, up to 10,000;
    options of weight 0 are left out. Two combinations may be the same text.

    PromptError for a wildcard that is not there, for wildcards that contain one another, for
    more than 10,000 variants, and for a template that could give more than 65,536
    characters.
    """
    if not isinstance(prompt, str):
        raise PromptError(f"prompt is of type {type(prompt).__name__}: give a text")
    template = read_template(prompt, wildcards)
    count = None if n is None else _counted("n", n, 1, MAX_VARIANTS)
    seed, first = _counted("seed", seed, 0), _counted("first", first, 0)
    if combinatorial:
        there = template.n_combinations
        if count is None and there > MAX_VARIANTS:
            raise PromptError(
                f"there are {'at least ' if there == MANY else ''}{there:,} combinations: ask "
                f"for the first n, {MAX_VARIANTS:,} at most, or for random ones"
            )
        template.check_work(min(there, count or there))
        return list(islice(template.combinations(), count))
    count = count or 1
    template.check_work(count)
    return [template.random(seed, i) for i in range(first, first + count)]


def read_template(
    prompt: str, wildcards: str | PathLike[str] | Wildcards | None = None
) -> "Template":
    """A template with its wildcards. Raises as `prompt_variants`."""
    if len(prompt) > MAX_LENGTH:
        raise PromptError(f"the prompt is longer than {MAX_LENGTH:,} characters: shorten it")
    if wildcards is not None and not isinstance(wildcards, Wildcards):
        wildcards = Wildcards(wildcards)
    return Template(bound(parse_template(prompt), wildcards))


class Template:
    """A template whose wildcards are bound.

    PromptError for one that is nested too deep or could give too much.
    """

    def __init__(self, parts: Parts) -> None:
        self._choices: dict[int, _Weighed] = {}
        self.parts = self._weighed(parts)
        self._size = _checked(_size(self.parts))

    @property
    def n_combinations(self) -> int:
        """How many combinations there are, counted up to `MANY`."""
        return _count(self.parts)

    def check_work(self, n: int) -> None:
        """PromptError if n variants could take minutes, or gigabytes."""
        if n * (self._size.length + self._size.steps) > MAX_WORK:
            raise PromptError(
                f"{n:,} variants of such a long prompt are too many: ask for fewer"
            )

    def random(self, seed: int, index: int) -> str:
        """The variant `index` of a seed."""
        source = Random(f"labml_sd {seed} {index}")
        return _random(self.parts, source)

    def combinations(self) -> Iterator[str]:
        """All combinations, one after the other; the last choice of a text changes first."""
        return _products(self.parts)

    def _weighed(self, parts: Parts) -> "_Parts":
        found: list[str | _Weighed] = []
        for part in parts:
            assert not isinstance(part, Wildcard), "wildcards are bound before"
            found.append(part if isinstance(part, str) else self._one(part))
        return tuple(found)

    def _one(self, choice: Choice) -> "_Weighed":
        """A choice, weighed once however often a wildcard occurs."""
        if id(choice) not in self._choices:
            kept = [option for option in choice.options if option.weight > 0]
            if not kept:
                raise PromptError("all weights of a choice are 0: give one that is larger")
            weighed = _Weighed(
                tuple(self._weighed(option.parts) for option in kept),
                tuple(option.weight for option in kept),
                min(choice.low, len(kept)),
                min(choice.high, len(kept)),
                choice.separator,
                choice,
            )
            _checked(weighed.size)
            self._choices[id(choice)] = weighed
        return self._choices[id(choice)]


@dataclass(frozen=True)
class _Size:
    """The most that parts can give."""

    depth: int
    length: int
    steps: int


@dataclass(frozen=True, eq=False)
class _Weighed:
    """A choice among options of a weight above 0."""

    options: "tuple[_Parts, ...]"
    weights: tuple[float, ...]
    low: int
    high: int
    separator: str
    source: Choice  # kept, so that its id stays its own

    @cached_property
    def limits(self) -> list[float]:
        """The sums of the weights up to each option."""
        return list(accumulate(self.weights))

    @cached_property
    def size(self) -> _Size:
        """The most that the choice can give."""
        sizes, k = [_size(option) for option in self.options], self.high
        length = sum(nlargest(k, (size.length for size in sizes)))
        steps = sum(nlargest(k, (size.steps for size in sizes)))
        return _Size(
            1 + max(size.depth for size in sizes),
            length + len(self.separator) * max(0, k - 1),
            1 + steps + (len(sizes) if k > 1 else 0),  # all are weighed to take several
        )

    @cached_property
    def count(self) -> int:
        """How many combinations it has, counted up to `MANY`."""
        return _orders([_count(option) for option in self.options], self.low, self.high)


_Parts = tuple[str | _Weighed, ...]


def _size(parts: _Parts) -> _Size:
    sizes = [part.size for part in parts if not isinstance(part, str)]
    texts = [len(part) for part in parts if isinstance(part, str)]
    return _Size(
        max((size.depth for size in sizes), default=0),
        sum(texts) + sum(size.length for size in sizes),
        len(parts) + sum(size.steps for size in sizes),
    )


def _checked(size: _Size) -> _Size:
    if size.depth > MAX_DEPTH:
        raise PromptError(too_deep())
    if size.length > MAX_LENGTH or size.steps > MAX_STEPS:
        raise PromptError(
            "the prompt could become too long: a variant may have up to "
            f"{MAX_LENGTH:,} characters and {MAX_STEPS:,} parts"
        )
    return size


def _count(parts: _Parts) -> int:
    count = 1
    for part in parts:
        count = count if isinstance(part, str) else min(MANY, count * part.count)
    return count


def _orders(counts: list[int], low: int, high: int) -> int:
    """How many texts `low` to `high` options in any order give, counted up to `MANY`."""
    most = min(high, 18)  # 18 options alone have more than 10^15 orders
    if low > most:
        return MANY
    sums = [1] + [0] * most  # of the products of k counts: elementary symmetric polynomials
    for count in counts:
        for k in range(most, 0, -1):
            sums[k] = min(MANY, sums[k] + sums[k - 1] * count)
    found = sum(math.factorial(k) * sums[k] for k in range(low, most + 1))
    return min(MANY, found)


def _random(parts: _Parts, source: Random) -> str:
    return "".join(part if isinstance(part, str) else _chosen(part, source) for part in parts)


def _chosen(choice: _Weighed, source: Random) -> str:
    span = choice.high - choice.low
    k = choice.low + (int(source.random() * (span + 1)) if span else 0)
    if k == 1:
        at = bisect(choice.limits, source.random() * choice.limits[-1])
        return _random(choice.options[min(at, len(choice.options) - 1)], source)
    # Options drawn one after the other by weight, none twice: the least of -log(u) / w first
    # (Efraimidis and Spirakis 2006).
    keys = [-math.log(1.0 - source.random()) / weight for weight in choice.weights]
    order = sorted(range(len(keys)), key=keys.__getitem__)[:k]
    return choice.separator.join(_random(choice.options[i], source) for i in order)


def _products(parts: _Parts) -> Iterator[str]:
    """Every combination of what the parts give. Memory is that of one combination."""
    open_parts: list[Iterator[str]] = []
    texts: list[str] = []
    while True:
        while len(open_parts) < len(parts):
            part = parts[len(open_parts)]
            open_parts.append(iter((part,)) if isinstance(part, str) else _all(part))
            texts.append(next(open_parts[-1]))
        yield "".join(texts)
        while open_parts:
            following = next(open_parts[-1], None)
            if following is not None:
                texts[-1] = following
                break
            open_parts.pop()
            texts.pop()
        else:
            return


def _all(choice: _Weighed) -> Iterator[str]:
    for k in range(choice.low, choice.high + 1):
        for options in permutations(choice.options, k):
            # As one sequence, so that several choices inside are combined.
            pieces = [part for option in options for part in (choice.separator, *option)]
            yield from _products(tuple(pieces[1:]))


def _counted(name: str, value: object, low: int, high: int | float = math.inf) -> int:
    number = whole_number(value)
    if number is None or not low <= number <= high:
        limits = f"at least {low}" if high == math.inf else f"{low} to {high:,}"
        raise PromptError(f"{name} is {quoted(value)}: give a whole number, {limits}")
    return number
