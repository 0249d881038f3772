import numpy as np
import pytest
import torch

from labml_sd.acceleration.fingerprint import WORDS, fingerprint, multipliers

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def changed(weight, change):
    before = fingerprint(weight)
    assert before.matches(fingerprint(weight))
    change(weight)
    return not before.matches(fingerprint(weight))


@pytest.mark.holds("labml_sd.acceleration.fingerprint")
def test_the_displayed_equation_is_computed_modulo_2_to_64():
    words = torch.randint(-(2**62), 2**62, (2, WORDS), generator=torch.Generator())
    m = [int(v) for v in multipliers(torch.device("cpu"))]
    sums = [sum(a * b for a, b in zip(m, map(int, row), strict=True)) for row in words]
    found = fingerprint(words.view(torch.float64)).hashes
    assert [int(v) % 2**64 for v in found] == [s % 2**64 for s in sums]


def test_the_multipliers_are_odd_different_and_always_the_same():
    m = multipliers(torch.device("cpu"))
    assert (m % 2 != 0).all() and len(m.unique()) == WORDS
    multipliers.cache_clear()
    assert torch.equal(multipliers(torch.device("cpu")), m)


CHANGES = {
    "one number": lambda w: w.view(-1)[123].add_(1),
    "the smallest change of one number": lambda w: w.view(-1)[77].mul_(
        1 + torch.finfo(w.dtype).eps
    ),
    "the last number": lambda w: w.view(-1)[-1].add_(1),
    "one row": lambda w: w[5].zero_(),
    "one column": lambda w: w[:, 5].neg_(),
    "the sign of one number": lambda w: w.view(-1)[401].neg_(),
    "all signs": lambda w: w.neg_(),
    "two rows swapped": lambda w: swap(w, 3, 9),
    "two numbers of a row swapped": lambda w: swap(w[4], 10, 11),
    "two columns swapped": lambda w: swap(w.t(), 2, 3),
    "through .data": lambda w: w.data.view(-1)[5].mul_(2),
    "NaN": lambda w: w.view(-1)[6].fill_(float("nan")),
}


def swap(rows, i, j):
    rows[[i, j]] = rows[[j, i]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(randn, dtype, change):
    weight = randn(67, 131).to(dtype)
    assert changed(weight, CHANGES[change])


def test_a_change_of_any_single_number_is_noticed(randn):
    weight = randn(31, 41).float()
    before = fingerprint(weight)
    for i in range(weight.numel()):
        weight.view(-1)[i] *= -1
        assert not before.matches(fingerprint(weight)), i
        weight.view(-1)[i] *= -1
    assert before.matches(fingerprint(weight))


def test_a_change_through_numpy_is_noticed(randn):
    assert changed(randn(8, 9).float(), lambda w: np.add(w.numpy(), 1, out=w.numpy()))


def test_a_change_of_a_tensor_made_in_inference_mode_is_noticed(randn):
    with torch.inference_mode():
        weight = randn(8, 9).float()
        assert changed(weight, lambda w: w[3].mul_(2))
    before = fingerprint(weight)
    with torch.inference_mode():
        weight[5] = 0
    assert not before.matches(fingerprint(weight))


def test_nan_that_stays_is_no_change():
    weight = torch.full((70, 70), float("nan"))
    assert fingerprint(weight).matches(fingerprint(weight.clone()))


@pytest.mark.parametrize("n", [0, 1, 3, 4 * WORDS, 8 * WORDS, 8 * WORDS + 5])
def test_every_length_is_read_to_the_end(n):
    weight = torch.arange(n, dtype=torch.uint8)
    found = fingerprint(weight)
    assert (len(found.hashes), len(found.rest)) == divmod(n, 8 * WORDS)
    if n:
        assert changed(weight, lambda w: w[-1].add_(1))


def test_layout_number_type_and_shape_belong_to_it(randn):
    weight = randn(4, 4, 3, 3).float()
    found = fingerprint(weight)
    for other in (
        weight.view(4, 4, 9),
        weight.contiguous(memory_format=torch.channels_last),
        weight.double(),
        weight.to("meta"),
    ):
        assert not found.matches(fingerprint(other))


def test_parts_and_views_at_odd_places_are_read(randn):
    base = randn(300, 7).to(torch.bfloat16)
    part = base[1:201]  # begins 14 bytes into the memory
    assert fingerprint(part).hashes.shape == (200 * 7 * 2 // (8 * WORDS),)
    assert changed(part, lambda w: w[100].zero_())
    assert changed(base.t(), lambda w: w[3].zero_())
    assert not changed(part, lambda w: base[0].zero_())


def test_a_weight_on_the_meta_device_has_no_numbers():
    weight = torch.empty(100, 100, device="meta")
    assert fingerprint(weight).matches(fingerprint(weight))


def test_the_weight_is_not_changed(randn):
    weight = randn(70, 70).float()
    before = weight.clone()
    fingerprint(weight)
    assert torch.equal(weight, before)


@pytest.mark.gpu
def test_on_a_gpu_it_is_the_same(randn):
    weight = randn(70, 70).float()
    cpu, cuda = fingerprint(weight), fingerprint(weight.cuda())
    assert torch.equal(cpu.hashes, cuda.hashes.cpu())
