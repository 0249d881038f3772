r"""Whether a part built in a notebook computes what the package's part computes.

Maps       two modules or functions, inputs  ->  a printed line, or AssertionError
Tests      tests/figures/test_same.py
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Part = nn.Module | Callable[..., Any]

AMPLITUDES = (1.0, 0.01)  # a wrong epsilon of a norm shows only on small inputs
TOLERANCE = 1e-10  # of the largest value


def same(mine: Part, theirs: Part, *inputs: Any) -> None:
    """Compare the results in float64, once more with the first input a hundredth as large.

    Token ids and other whole numbers are not scaled.
    A module `mine` first gets the weights of `theirs`: every name and shape must fit. Tensors
    of floating-point numbers become float64; other inputs are passed as they are. Prints one
    line. Raises AssertionError with the largest difference, RuntimeError if weights do not fit.
    """
    if isinstance(mine, nn.Module) and isinstance(theirs, nn.Module):
        mine.load_state_dict(theirs.state_dict(), strict=True)
    mine, theirs = _double(mine), _double(theirs)
    first, *others = [_double_tensor(value) for value in inputs]
    for x in [amplitude * first for amplitude in AMPLITUDES] if _is_real(first) else [first]:
        with torch.no_grad():
            a, b = mine(x, *others), theirs(x, *others)
        size, difference = b.abs().max().item(), (a - b).abs().max().item()
        if a.shape != b.shape or not difference <= TOLERANCE * size:
            raise AssertionError(f"not the same: they differ by {difference:.1e} of {size:.1e}")
    print(f"the same: {list(b.shape)}, to ten digits")


def _double(part: Part) -> Part:
    """A copy of a module in float64, as it is used (`eval`); functions as they are."""
    return copy.deepcopy(part).double().eval() if isinstance(part, nn.Module) else part


def _double_tensor(value: Any) -> Any:
    return value.double() if _is_real(value) else value


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
