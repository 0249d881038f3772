"""The tests see a wrong shape, in the package and in each kind of function."""

from dataclasses import dataclass

import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, jaxtyped
from torch import Tensor

from labml_sd.sampler.guidance import guide

check = jaxtyped(typechecker=beartype)


def refused():
    return pytest.raises(BeartypeCallHintViolation)


@check
def outer(a: Float[Tensor, " n"], b: Float[Tensor, " m"]) -> Float[Tensor, "n m"]:
    return a[:, None] * b


@check
def inner(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return (a * b).sum()


@check
def zeros(n: int) -> Float[Tensor, " {n}"]:
    return torch.zeros(3)


@check
def half(n: int) -> int:
    return n / 2 if n % 2 else n // 2


@check
@dataclass
class Pair:
    one: Float[Tensor, " n"]
    two: Float[Tensor, " n"]


def test_right_shapes_and_types_pass():
    assert outer(torch.ones(2), torch.ones(3)).shape == (2, 3)
    assert (zeros(3).shape, half(4)) == ((3,), 2)
    Pair(torch.ones(2), torch.ones(2))


def test_axes_of_one_name_must_agree():
    with refused():
        inner(torch.ones(2), torch.ones(3))
    with refused():
        Pair(torch.ones(2), torch.ones(3))


def test_the_result_is_checked_too():
    with refused():
        inner(torch.ones(2), torch.ones(2))
    with pytest.raises(Exception, match="3"):
        zeros(4)
    with refused():
        half(3)


def scaled_by(factor):
    @check
    def scaled(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return factor * a * b

    return scaled


def test_inner_functions_of_one_code_are_checked_and_keep_what_they_close_over():
    first, second = scaled_by(2), scaled_by(3)
    one = torch.ones(2)
    assert (first(one, one).sum(), second(one, one).sum()) == (4, 6)
    assert second.__name__ == "scaled"
    for each in (first, second):
        with refused():
            each(one, torch.ones(3))


def test_the_package_is_checked():
    with refused():
        guide(torch.ones(1, 4, 2, 2), torch.ones(1, 4, 2, 3), 2.0)
