import math
from itertools import islice

import numpy as np
import pytest
import torch

from labml_sd.sampler import NoiseSource, cuda_noise
from labml_sd.sampler.philox import box_muller, philox_4x32_10

# Counter, key and answer: the known answers that are published with Random123.
KNOWN_ANSWERS = [
    (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]

# Three draws of one run on a GPU: seed 0, torch.randn of (8, 10), (10) and (8, 10). The first
# row of each.
PRINTED_BY_A_GPU = [
    [-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284, -1.0745, -0.3631],
    [0.1808, -0.5523, 0.9238, -0.7350, 1.3800, 0.8676, 0.1297, -0.9406, 0.8109, 0.8821],
    [2.5441, -0.7163, -0.4934, 0.1267, 0.1014, -0.4035, 0.9023, 0.8099, -0.6884, 0.1372],
]

# More digits of the first draw, as the web UI documents them.
PRINTED_IN_FULL = [
    [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
    [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
    [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
]  # fmt: skip


def words(text):
    return [int(word, 16) for word in text.split()]


def by_hand(counter, key):
    """Philox 4x32-10 once more, with Python's integers and one number at a time."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def draws(seed, shape, n_draws):
    return list(islice(cuda_noise(seed, shape), n_draws))


@pytest.mark.holds("labml_sd.sampler.philox.philox_4x32_10")
@pytest.mark.parametrize(
    ("counter", "key", "answer"), KNOWN_ANSWERS, ids=["zeros", "ones", "pi"]
)
def test_the_published_answers_come_out(counter, key, answer):
    column = np.array(words(counter), dtype=np.uint64)[:, None]
    assert philox_4x32_10(column, tuple(words(key)))[:, 0].tolist() == words(answer)


@pytest.mark.holds("labml_sd.sampler.philox.philox_4x32_10")
def test_many_columns_at_once_are_each_what_they_are_alone():
    random = np.random.default_rng(0).integers(0, 2**32, (4, 50), dtype=np.uint64)
    key = (0x12345678, 0x9ABCDEF0)
    expected = [by_hand(map(int, column), key) for column in random.T]
    assert philox_4x32_10(random, key).T.tolist() == [list(column) for column in expected]


@pytest.mark.parametrize(
    ("index", "shape"), [(0, (1, 8, 10)), (1, (1, 1, 10)), (2, (1, 8, 10))]
)
def test_three_draws_are_those_that_a_gpu_printed(index, shape):
    drawn = draws(0, shape, 3)[index].flatten()[:10]
    torch.testing.assert_close(
        drawn, torch.tensor(PRINTED_BY_A_GPU[index]), rtol=0, atol=5.1e-5
    )


def test_the_first_draw_is_the_documented_one_to_the_last_digits_of_float32():
    (drawn,) = draws(0, (1, 3, 4), 1)
    torch.testing.assert_close(drawn[0], torch.tensor(PRINTED_IN_FULL), rtol=1e-6, atol=0)


@pytest.mark.holds("labml_sd.sampler.philox.box_muller")
@pytest.mark.parametrize("seed", [1, 2**32 - 1, 2**32, 2**64 - 1])
def test_every_number_is_the_formula_evaluated_by_itself(seed):
    shape = (2, 3, 5)
    drawn = torch.stack(draws(seed, shape, 3)).flatten(1).tolist()
    for n_drawn, row in enumerate(drawn):
        for place, value in enumerate(row):
            x, y, _, _ = by_hand((n_drawn, 0, place, 0), (seed % 2**32, seed // 2**32))
            u, v = (x + 0.5) / 2**32, 2 * math.pi * (y + 0.5) / 2**32
            assert value == pytest.approx(
                math.sqrt(-2 * math.log(u)) * math.sin(v), rel=2e-5, abs=2e-6
            )


def test_the_largest_and_the_smallest_number_give_finite_noise():
    ends = np.array([0, 2**32 - 1], dtype=np.uint64)
    quarter = np.full(2, 2**30, dtype=np.uint64)  # sin v = 1
    assert box_muller(ends, quarter).tolist() == pytest.approx(
        [math.sqrt(-2 * math.log(2**-33)), 0]
    )


def test_it_is_normal():
    drawn = torch.cat([d.flatten() for d in draws(5, (4, 64, 64), 4)]).double()
    moments = [drawn.mean(), drawn.std(), (drawn**3).mean(), (drawn**4).mean()]
    assert [m.item() for m in moments] == pytest.approx([0, 1, 0, 3], abs=0.08)


def test_all_64_bits_of_the_seed_count():
    assert not torch.equal(draws(9, (1, 2, 2), 1)[0], draws(9 + 2**32, (1, 2, 2), 1)[0])


@pytest.mark.gpu
def test_a_gpu_draws_the_same():
    generator = torch.Generator(device="cuda").manual_seed(2**40 + 3)
    for ours in draws(2**40 + 3, (4, 64, 64), 3):
        theirs = torch.randn(ours.shape, generator=generator, device="cuda").cpu()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.gpu
def test_a_gpus_noise_source_holds_what_the_cpus_holds():
    on_cpu, on_gpu = (
        NoiseSource([3, 4], (4, 8, 8), device=d, noise="cuda").draw() for d in ("cpu", "cuda")
    )
    assert torch.equal(on_gpu.cpu(), on_cpu)
