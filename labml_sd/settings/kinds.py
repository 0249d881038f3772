r"""The kinds of values that settings take.

A number may be one of NumPy or PyTorch; what is used and written into pictures is Python's.

Maps       a setting's name and a value -> the value that is used, or an error
Tests      tests/settings/test_settings.py
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labml_sd.errors import GenerationError, quoted
from labml_sd.utilities.numbers import real_number, whole_number


@dataclass(frozen=True)
class Kind:
    """Which values a setting takes.

    `word` reads one word of a command line or of a picture's text. `metavar` stands for the
    words in the help of the command line: a tuple for several. `check` takes the setting's name
    and a value, and returns the value that is used, or raises. With `several` the value is a
    sequence, and the flag may be given again.
    """

    word: type[int] | type[float] | type[str]
    metavar: str | tuple[str, ...]
    check: Callable[[str, object], Any]
    several: bool = False

    @property
    def stored(self) -> type:
        """The type of the value in the JSON of a picture."""
        return list if self.several else self.word


def whole(low: int, high: float | int = math.inf, otherwise: str = "") -> Kind:
    """Whole numbers from `low` to `high`; `otherwise` ends the error."""
    limits = f", at least {low}" if high == math.inf else f" from {low} to {high}{otherwise}"

    def check(name: str, value: object) -> int:
        n = whole_number(value)
        if n is not None and low <= n <= high:
            return n
        raise _refused(name, value, f"a whole number{limits}")

    return Kind(int, "N", check)


def number(expected: str, low: float | int = -math.inf, high: float | int = math.inf) -> Kind:
    """Finite numbers from `low` to `high`; `expected` says so in the error."""

    def check(name: str, value: object) -> float:
        x = real_number(value)
        if x is not None and math.isfinite(x) and low <= x <= high:
            return x
        raise _refused(name, value, expected)

    return Kind(float, "X", check)


def interval(expected: str) -> Kind:
    """Two finite numbers."""

    def check(name: str, value: object) -> tuple[float, float]:
        ends = list(map(real_number, value)) if isinstance(value, list | tuple) else []
        finite = [x for x in ends if x is not None and math.isfinite(x)]
        if len(ends) == len(finite) == 2:
            return finite[0], finite[1]
        raise _refused(name, value, expected)

    return Kind(float, ("LOW", "HIGH"), check)


# The checks below belong to the subpackages that use the values. They are imported when the
# first value is checked: PyTorch takes seconds to import.


def _check_prompts(name: str, value: object) -> Any:
    from labml_sd.text_encoder.tokenizer import check_prompts

    check_prompts(value, name)
    return value


def _check_sampler(name: str, value: object) -> Any:
    from labml_sd.sampler import get_sampler

    get_sampler(value)
    return value


def _check_spacing(name: str, value: object) -> str:
    from labml_sd.sampler.spacing import SPACINGS

    if isinstance(value, str) and value in SPACINGS:
        return value
    raise _refused(name, value, f"one of {', '.join(SPACINGS)}")


def _check_compat(name: str, value: object) -> str:
    from labml_sd.sampler import check_compat

    return check_compat(value)


def _check_noise(name: str, value: object) -> str:
    from labml_sd.sampler import check_noise

    return check_noise(value)


def _check_fill(name: str, value: object) -> str:
    if isinstance(value, str) and value in FILLS:
        return value
    raise _refused(name, value, f"one of {', '.join(FILLS)}")


def _check_emphasis(name: str, value: object) -> str:
    from labml_sd.text_encoder.emphasis import EMPHASES

    if isinstance(value, str) and value in EMPHASES:
        return value
    raise _refused(name, value, f"one of {', '.join(EMPHASES)}")


def _check_sources(name: str, value: object) -> tuple[Any, ...]:
    if value is None:
        raise _refused(name, value, "files or folders, () for none")
    items = value if isinstance(value, list | tuple) else (value,)
    # JSON has no tuples: (name, file) is a list there
    return tuple(tuple(item) if isinstance(item, list) else item for item in items)


FILLS = ("original", "fill", "noise", "nothing")
FILL = Kind(str, "NAME", _check_fill)
PROMPTS = Kind(str, "TEXT", _check_prompts)  # a text, or a list of texts
SAMPLER = Kind(str, "NAME", _check_sampler)  # the name of a sampler, or a sampler
SPACING = Kind(str, "NAME", _check_spacing)
TOOL = Kind(str, "TOOL", _check_compat)
EMBEDDINGS = Kind(str, "FILE", _check_sources, several=True)
EMPHASIS = Kind(str, "NAME", _check_emphasis)
NOISE = Kind(str, "NAME", _check_noise)


def _refused(name: str, value: object, expected: str) -> GenerationError:
    return GenerationError(f"{name} is {quoted(value)}: give {expected}")
