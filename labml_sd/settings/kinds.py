r"""The kinds of values that settings take.

Maps       a setting's name and a value -> the value that is used, or an error
Tests      tests/settings/test_settings.py
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

from labml_sd.errors import GenerationError, quoted


@dataclass(frozen=True)
class Kind:
    """Which values a setting takes.

    `word` reads one word of a command line or of a picture's text. `metavar` stands for the
    words in the help of the command line: a tuple for several. `check` takes the setting's name
    and a value, and returns the value that is used, or raises.
    """

    word: type[int] | type[float] | type[str]
    metavar: str | tuple[str, ...]
    check: Callable[[str, object], Any]


def whole(low: int, high: float | int = math.inf) -> Kind:
    """Whole numbers from `low` to `high`."""
    limits = f", at least {low}" if high == math.inf else f" from {low} to {high}"

    def check(name: str, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise _refused(name, value, f"a whole number{limits}")

    return Kind(int, "N", check)


def number(expected: str, low: float | int = -math.inf, high: float | int = math.inf) -> Kind:
    """Finite numbers from `low` to `high`; `expected` says so in the error."""

    def check(name: str, value: object) -> float:
        if _is_finite(value) and low <= value <= high:
            return float(value)
        raise _refused(name, value, expected)

    return Kind(float, "X", check)


def interval(expected: str) -> Kind:
    """Two finite numbers."""

    def check(name: str, value: object) -> tuple[float, float]:
        if isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_finite, value)):
            return float(value[0]), float(value[1])
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


def _check_compat(name: str, value: object) -> str:
    from labml_sd.sampler import check_compat

    return check_compat(value)


def _check_noise(name: str, value: object) -> str:
    from labml_sd.sampler import check_noise

    return check_noise(value)


PROMPTS = Kind(str, "TEXT", _check_prompts)  # a text, or a list of texts
SAMPLER = Kind(str, "NAME", _check_sampler)  # the name of a sampler, or a sampler
TOOL = Kind(str, "TOOL", _check_compat)
NOISE = Kind(str, "NAME", _check_noise)


def _is_finite(value: object) -> TypeGuard[float | int]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # a whole number can be larger than any float


def _refused(name: str, value: object, expected: str) -> GenerationError:
    return GenerationError(f"{name} is {quoted(value)}: give {expected}")
