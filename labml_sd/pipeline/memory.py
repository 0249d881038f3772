r"""When memory runs out: a batch is run in parts, and what cannot be run says so in one line.

Maps       a call for a batch  ->  the same call for parts of it; an error of PyTorch
           ->  GenerationError
Tests      tests/pipeline/test_memory.py
"""

import gc
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError

T = TypeVar("T")

ONEDNN = "could not create a primitive"  # oneDNN, PyTorch's library for the CPU: no memory
OUT_OF_MEMORY = (  # the CPU, MPS, CUDA's libraries, C++, and a thread that cannot start
    "allocate memory",
    "out of memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "start new thread",
    ONEDNN,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out. Only CUDA has a type of error for it; others have a text."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(t in str(error) for t in OUT_OF_MEMORY)


class BatchSplitter:
    """Run calls on `n` images at once; if they do not fit, on half as many, and so on to one.

    The size that fits is kept for the calls that follow. Images do not depend on one another,
    so only the time changes.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.size = n

    def run(
        self, call: Callable[[slice], Float[Tensor, "b *rest"]]
    ) -> Float[Tensor, "n *rest"]:
        """`call` gets the part to run. If a single image does not fit, its error is raised."""
        while True:
            try:
                return retried(lambda: self._run(call))
            except (RuntimeError, MemoryError) as error:
                if self.size == 1 or not is_out_of_memory(error):
                    raise
            # Outside the except block, where the traceback no longer holds the call's tensors.
            self.size = (self.size + 1) // 2
            warnings.warn(
                f"{self.n} pictures do not fit in memory at once: {self.size} at a time",
                stacklevel=2,
            )
            free()

    def _run(
        self, call: Callable[[slice], Float[Tensor, "b *rest"]]
    ) -> Float[Tensor, "n *rest"]:
        starts = range(0, self.n, self.size)
        parts = [call(slice(i, min(i + self.size, self.n))) for i in starts]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def retried(run: Callable[[], T]) -> T:
    """If oneDNN could not create a kernel, run once more in another thread.

    oneDNN remembers in each thread that memory ran out there, and creates no new kernel in it
    again, even when memory is free later. Kernels that exist serve all threads.
    """
    try:
        return run()
    except RuntimeError as error:
        if ONEDNN not in str(error):
            raise
    free()
    bytearray(2**25)  # MemoryError here: a thread that cannot get memory would block forever
    with ThreadPoolExecutor(1) as another:
        return another.submit(torch.no_grad()(run)).result()


def free() -> None:
    """Release memory that is no longer used, for the next, smaller call."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def memory_errors_explained(n: int, width: int, height: int) -> Iterator[None]:
    """Turn running out of memory into a GenerationError: what was drawn, and what to try."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # the error must not keep tensors alive
        free()
        raise GenerationError(
            f"out of memory with {n} picture{'s' * (n > 1)} of {width}x{height}: "
            "draw smaller pictures, or load the model with dtype bfloat16 or float16, "
            "or with offload=True for a GPU"
        ) from None
