r"""Plain Python numbers from those of NumPy, PyTorch and other libraries.

Maps       any value -> an int or a float; None for what is not such a number
Tests      tests/utilities/test_numbers.py
"""

import operator
import re
from typing import SupportsFloat, SupportsIndex

_NUMBER_TYPES = re.compile(r"(torch\.)?(u?int|b?float)\d.*")  # "int64", "torch.bfloat16"


def whole_number(value: object) -> int | None:
    """A whole number of any library as an int; None for all else, 5.0 and "5" among it.

    Arrays and tensors count where they have no axes. A truth value is not a number.
    """
    if not isinstance(value, SupportsIndex) or not _may_be_number(value):
        return None
    try:
        return operator.index(value)
    except Exception:  # a number with a fraction, or a tensor without data
        return None


def real_number(value: object) -> float | None:
    """A real number of any library as a float, maybe infinite or NaN; None for all else.

    None also for a whole number that is larger than any float.
    """
    if not isinstance(value, SupportsFloat | SupportsIndex) or not _may_be_number(value):
        return None
    try:
        return float(value)
    except Exception:
        return None


def _may_be_number(value: object) -> bool:
    """Refuse truth values, and arrays of anything but one number."""
    if isinstance(value, bool):
        return False
    dtype = getattr(value, "dtype", None)  # NumPy's scalars have one, and convert texts too
    if dtype is None:
        return True
    return _NUMBER_TYPES.fullmatch(str(dtype)) is not None and getattr(value, "ndim", 0) == 0
