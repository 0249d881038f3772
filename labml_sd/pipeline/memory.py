r"""When memory runs out: a batch is run in parts, and what cannot be run says so in one line.

Maps       a call for a batch -> the same call for parts of it; an error of PyTorch -> GenerationError
Tests      tests/pipeline/test_memory.py
"""

import gc
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError

ONEDNN = (
    "could not create a primitive"  # no memory for a kernel of PyTorch's library for the CPU
)
# of the CPU, of MPS, of CUDA's libraries, of C++, and of a thread that cannot start
WORDS = (
    "allocate memory",
    "out of memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "start new thread",
    ONEDNN,
)


def is_out_of_memory(error: BaseException) -> bool:
    """PyTorch has a type for CUDA only; other allocators raise a RuntimeError with words in it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


class Parts:
    """Run calls on `n` pictures at once; where they do not fit, on half as many, and so on down to one.

    The size that fits is kept for the calls that follow. Pictures do not know their neighbours,
    so nothing but the time changes.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.size = n

    def run(
        self, call: Callable[[slice], Float[Tensor, "b *rest"]]
    ) -> Float[Tensor, "n *rest"]:
        """`call` gets the part to run. A part of one picture that does not fit raises what it raised."""
        while True:
            try:
                return retried(lambda: self._run(call))
            except (RuntimeError, MemoryError) as error:
                if self.size == 1 or not is_out_of_memory(error):
                    raise
            self._halve()  # out here the error is gone, and with it the tensors its traceback held

    def _run(
        self, call: Callable[[slice], Float[Tensor, "b *rest"]]
    ) -> Float[Tensor, "n *rest"]:
        return torch.cat([call(slice(i, i + self.size)) for i in range(0, self.n, self.size)])

    def _halve(self) -> None:
        self.size = (self.size + 1) // 2
        warnings.warn(
            f"{self.n} pictures do not fit in memory at once: {self.size} at a time",
            stacklevel=2,
        )
        free()


def retried(run: Callable[[], Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
    """Where oneDNN could not make a kernel, run once more in another thread.

    It remembers in each thread that memory ran out there, for good, and makes no new kernel in
    it again, however much memory there is by then. Kernels that are made serve all threads.
    """
    try:
        return run()
    except RuntimeError as error:
        if ONEDNN not in str(error):
            raise
    free()
    bytearray(2**25)  # MemoryError: Python waits for ever for a thread that finds no room
    with ThreadPoolExecutor(1) as another:
        return another.submit(torch.no_grad()(run)).result()


def free() -> None:
    """Give back what nobody holds any more, so that the next smaller call finds it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def memory_errors_explained(n: int, width: int, height: int) -> Iterator[None]:
    """Turn running out of memory into a GenerationError that says what was asked and what to try."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(
            error.__traceback__
        )  # whoever keeps the error must not keep their tensors
        free()
        raise GenerationError(
            f"out of memory with {n} picture{'s' * (n > 1)} of {width}x{height}: draw smaller pictures, "
            "or load the model with dtype bfloat16 or float16"
        ) from None
