r"""Networks that have shapes but no numbers yet: for a model whose weights are about to be read.

Maps       nothing; a context in which layers are made on PyTorch's meta device and none is initialised
Tests      tests/utilities/test_shapes_only.py
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _NoNumbers(TorchFunctionMode):
    """Leaves out what `torch.nn.init` does. On the meta device it does nothing either, and takes seconds."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Any = None,
    ) -> Any:
        if getattr(func, "__module__", None) != "torch.nn.init":
            return func(*args, **(kwargs or {}))
        return args[0] if args else kwargs["tensor"]


@contextmanager
def shapes_only() -> Iterator[None]:
    """Make networks in no memory, and those of SD v1 in a twentieth of a second."""
    with torch.device("meta"), _NoNumbers():
        yield
