r"""CUDA's noise without a GPU: what torch.randn draws on an NVIDIA GPU, computed on the CPU.

Maps       a seed, a latent's shape  ->  standard normal noise [c h w], new at each draw
Paper      Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", sections 3.3 and
           5.2 (Philox)
Reference  CUDA's cuRAND, whose Philox generator and Box-Muller transform PyTorch uses
Tests      tests/sampler/test_philox.py
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt64
from torch import Tensor

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # fractions of the golden ratio and of sqrt(3)
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox_4x32_10(
    counter: UInt64[np.ndarray, "4 n"], key: tuple[int, int]
) -> UInt64[np.ndarray, "4 n"]:
    r"""Ten rounds of Philox 4x32: four random numbers from each column of four 32-bit numbers.

    $$ (c_0, c_1, c_2, c_3) \leftarrow
       (\mathrm{hi}(M_1 c_2) \oplus c_1 \oplus k_0,\ \mathrm{lo}(M_1 c_2),\
        \mathrm{hi}(M_0 c_0) \oplus c_3 \oplus k_1,\ \mathrm{lo}(M_0 c_0)) $$

    Each round has its own key: both halves grow by a constant. The 32-bit numbers are stored
    in 64 bits, which hold their products.
    """
    c0, c1, c2, c3 = counter
    for i in range(10):
        # the two halves of this round's key
        k0, k1 = (
            np.uint64((k + i * step) & 0xFFFFFFFF)
            for k, step in zip(key, _KEY_STEPS, strict=True)
        )
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT) ^ c1 ^ k0,
            product1 & _LOW,
            (product0 >> _SHIFT) ^ c3 ^ k1,
            product0 & _LOW,
        )
    return np.stack([c0, c1, c2, c3])


def box_muller(
    x: UInt64[np.ndarray, " n"], y: UInt64[np.ndarray, " n"]
) -> Float32[np.ndarray, " n"]:
    r"""A normal number from two random 32-bit ones: the sine half of the Box-Muller transform.

    $$ \sqrt{-2 \ln u}\, \sin v, \qquad u = 2^{-32} (x + \tfrac12),
       \quad v = 2\pi \cdot 2^{-32} (y + \tfrac12) $$

    u and v are rounded to float32 where the GPU rounds them. Root, logarithm and sine are
    computed in float64; the GPU uses a fast sine in float32, so the last digits differ.
    """
    u = _on_grid(x, 2.0**-32)
    v = _on_grid(y, float(np.float32(2 * math.pi * 2.0**-32)))
    return (np.sqrt(-2 * np.log(u)) * np.sin(v)).astype(np.float32)


def _on_grid(numbers: UInt64[np.ndarray, " n"], width: float) -> Float[np.ndarray, " n"]:
    """The midpoints of 2**32 intervals of that width, rounded as in float32, as float64."""
    middles = numbers.astype(np.float32).astype(np.float64) * width + width / 2
    return middles.astype(np.float32).astype(np.float64)


def cuda_noise(seed: int, shape: tuple[int, int, int]) -> Iterator[Float[Tensor, "c h w"]]:
    """What torch.randn(shape) draws on a GPU after torch.manual_seed(seed), in float32.

    The seed, all 64 bits of it, is the key. The counter holds the index of the draw and the
    position in the latent, since every GPU thread counts for itself. On a GPU with fewer
    threads than the latent has numbers a thread draws more than once, and the noise differs.
    Large GPUs have more than 100,000 threads; the latent of 1024 x 1024 pixels has 65,536
    numbers.
    """
    key = (seed & 0xFFFFFFFF, seed >> 32)
    counter = np.zeros((4, math.prod(shape)), dtype=np.uint64)  # [4 c*h*w]
    counter[2] = np.arange(counter.shape[1])
    while True:
        random = philox_4x32_10(counter, key)
        yield torch.from_numpy(box_muller(random[0], random[1])).reshape(shape)
        counter = counter + np.array([[1], [0], [0], [0]], dtype=np.uint64)
