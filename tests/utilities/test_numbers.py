import decimal
import fractions

import numpy as np
import pytest
import torch

from labml_sd.utilities.numbers import real_number, whole_number

WHOLE = [
    5,
    np.int64(5),
    np.uint8(5),
    np.array(5),
    torch.tensor(5),
    torch.tensor(5, dtype=torch.int8),
]
REAL = [
    *(2.5, np.float16(2.5), np.float32(2.5), np.float64(2.5), np.longdouble(2.5)),
    *(np.array(2.5), torch.tensor(2.5), torch.tensor(2.5, dtype=torch.bfloat16)),
    *(decimal.Decimal("2.5"), fractions.Fraction(5, 2)),
]
NEITHER = [
    *("5", b"5", None, [5], (5,), {}, NotImplemented, int),
    *(True, False, np.True_, np.array(True), torch.tensor(True)),
    *(np.str_("5"), np.bytes_(b"5"), np.array("5"), np.array(5, dtype=object)),
    *(5j, np.complex64(5), torch.tensor(5 + 0j), np.datetime64(5, "D"), np.timedelta64(5, "s")),
    *(np.array([5]), np.array([[5]]), torch.tensor([5]), torch.tensor([5.0])),
    torch.tensor(5, device="meta"),
]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_whole_numbers_of_all_libraries_become_an_int(value):
    assert whole_number(value) == 5 and type(whole_number(value)) is int
    assert real_number(value) == 5.0 and type(real_number(value)) is float


@pytest.mark.parametrize("value", REAL, ids=repr)
def test_real_numbers_of_all_libraries_become_a_float(value):
    assert whole_number(value) is None
    assert real_number(value) == 2.5 and type(real_number(value)) is float


@pytest.mark.parametrize("value", NEITHER, ids=repr)
def test_what_is_not_a_number_is_neither(value):
    assert whole_number(value) is None and real_number(value) is None


def test_a_whole_float_is_not_a_whole_number():
    assert whole_number(5.0) is None and whole_number(np.float32(5)) is None


def test_a_number_larger_than_any_float_is_not_real():
    assert whole_number(10**400) == 10**400 and real_number(10**400) is None


def test_infinity_and_nan_are_left_to_the_caller():
    assert real_number(np.float32("inf")) == float("inf")
    assert real_number(torch.tensor(float("nan"))) != real_number(torch.tensor(float("nan")))
