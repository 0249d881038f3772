r"""Attention on a processor with AMX or AVX-512, by a kernel in C: attention.c.

Self-attention is 15% of the arithmetic of SD v1 at 512x512, but with PyTorch's kernel more than
a third of the time of a step. That kernel subtracts from every score $s_j$ the largest one so
far, and rescales its sums whenever a larger one comes. But any reference $r$ gives the same
result,

$$ o = \frac{\sum_j 2^{s_j - r}\, v_j}{\sum_j 2^{s_j - r}}, \qquad
   s_j = \frac{q \cdot k_j}{\sqrt d \ln 2} $$

and attention.c takes one that is near enough. With that, and with scores that never leave the
first-level cache, it takes half the time in bfloat16 with AMX, a quarter with AVX512-BF16, and
half the time in float32 with AVX-512.

The kernel is compiled at the first call that can use it, once for each number type, in a third
of a second, by the C compiler of the machine (`CC`, or `cc`). Without a compiler or such a
processor, PyTorch's kernel runs.

Maps       q [b heads n d], k and v [b heads m d]  ->  [b heads n d]
Paper      Dao et al. 2022, arXiv:2205.14135; Milakov and Gimelshein 2018, arXiv:1805.02867
Tests      tests/acceleration/test_attention.py
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from ctypes import CDLL, Structure, byref, c_float, c_int64, c_void_p
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

SOURCE = Path(__file__).with_suffix(".c")
# The threads are PyTorch's: its OpenMP library is already loaded.
OPTIONS = ("-O3", "-shared", "-fPIC", "-fopenmp")
AVX512 = ("-mavx512f", "-mavx512dq")
BF16 = (*AVX512, "-mavx512bf16")
# number type -> instructions, the best first -> options of the compiler
INSTRUCTIONS: dict[torch.dtype, dict[str, tuple[str, ...]]] = {
    torch.bfloat16: {"AMX": (*BF16, "-mamx-tile", "-mamx-bf16"), "AVX512-BF16": BF16},
    torch.float32: {"AVX-512": (*AVX512, "-DFLOAT32")},
}
FEWEST_QUERIES = 256  # below, PyTorch's kernel is as fast
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


def attention(
    q: Float[Tensor, "b heads n d"],
    k: Float[Tensor, "b heads m d"],
    v: Float[Tensor, "b heads m d"],
) -> Float[Tensor, "b heads n d"]:
    r"""$\mathrm{softmax}(q k^T / \sqrt d)\, v$, by the kernel that is faster here."""
    kernel = own_kernel(q.dtype) if suits(q, k, v) else None
    return F.scaled_dot_product_attention(q, k, v) if kernel is None else kernel(q, k, v)


def suits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether our kernel can compute this, and is faster. It has no gradient."""
    given = (q, k, v)
    return (
        all(x.device.type == "cpu" and x.dtype == q.dtype and x.stride(-1) == 1 for x in given)
        and q.dtype in INSTRUCTIONS
        and q.shape[2] >= FEWEST_QUERIES
        and q.shape[3] * q.element_size() % 4 == 0
        and k.shape[2] > 0
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in given))
    )


@cache
def own_kernel(dtype: torch.dtype) -> Kernel | None:
    """Compiled at the first call; None without a compiler or the instructions that it needs.

    Warns if compiling fails.
    """
    compiler, instructions = c_compiler(), instruction_set(dtype)
    if not compiler or not instructions:
        return None
    try:
        kernel = compiled(compiler, *INSTRUCTIONS[dtype][instructions])
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or "").strip() or str(error)
        problem = f"did not compile {SOURCE.name}: {said.splitlines()[0]}"
    else:
        if len(openmp_runtimes()) == 1:
            return kernel
        problem = "brings another OpenMP than PyTorch's; their threads would compete for cores"
    warnings.warn(
        f"attention uses PyTorch's kernel: {' '.join(compiler)} {problem}", stacklevel=2
    )
    return None


def which_kernel(dtype: torch.dtype) -> str:
    """In words: which kernel computes attention in bfloat16 or float32 on this CPU, and why."""
    instructions = instruction_set(dtype)
    if not instructions:
        return f"PyTorch's (no {' or '.join(INSTRUCTIONS[dtype])})"
    if not c_compiler():
        return "PyTorch's (no C compiler for our own)"
    return (
        f"our own, for {instructions}"
        if own_kernel(dtype)
        else "PyTorch's (our own cannot be built)"
    )


def c_compiler() -> tuple[str, ...]:
    """Its command: what `CC` names, with arguments as in "ccache gcc", else `cc`; or ()."""
    named = os.environ.get("CC", "").strip() or "cc"
    try:
        program, *arguments = [named] if shutil.which(named) else shlex.split(named)
    except ValueError:  # an odd number of quotes
        return ()
    found = shutil.which(program)
    return (found, *arguments) if found else ()


@cache
def instruction_set(dtype: torch.dtype) -> str:
    """The best of the `INSTRUCTIONS` for a number type that this processor has, or "".

    AMX only if the system lets this process use it.
    """
    has = torch.cpu.get_capabilities() if sys.platform == "linux" else {}
    if dtype == torch.float32:
        return "AVX-512" if has.get("avx512_f") and has.get("avx512_dq") else ""
    if has.get("amx_bf16") and torch.cpu._init_amx():
        return "AMX"
    return "AVX512-BF16" if has.get("avx512_bf16") else ""


def openmp_runtimes() -> set[str]:
    """The OpenMP libraries that this process has loaded, on Linux."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    loaded = {line.split()[-1] for line in maps.splitlines()}
    return {
        file for file in loaded if Path(file).name.startswith(("libgomp", "libomp", "libiomp"))
    }


class Rows(Structure):
    """A tensor [batch head token d] for attention.c: its address, its strides in numbers."""

    _fields_ = (("data", c_void_p), ("batch", c_int64), ("head", c_int64), ("token", c_int64))


def compiled(compiler: Sequence[str], *options: str) -> Kernel:
    """attention.c as a function. The library's file is deleted once it is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "attention.so"
        command = [*compiler, *OPTIONS, *options, str(SOURCE), "-lm", "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        attend = CDLL(str(library)).attend

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        (b, heads, n, d), m = q.shape, k.shape[2]
        # the heads of a token are neighbours in memory
        out = q.new_empty(b, n, heads, d).transpose(1, 2)
        rows = [byref(Rows(x.data_ptr(), *x.stride()[:3])) for x in (q, k, v, out)]
        if attend(*rows, (c_int64 * 5)(b, heads, n, m, d), c_float(d**-0.5)):
            raise MemoryError("attention found no memory for its tiles")
        return out

    return kernel
