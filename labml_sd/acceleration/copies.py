r"""Packed copies of weights, kept beside the weights for as long as these live.

A copy is made when it is first needed, and compared with its weights, by their fingerprints,
the next time somebody asks for it. So it does not matter how a weight was changed in between,
and module trees that share a weight share its copies.

Maps       weights, a name, a function  ->  what the function makes of the weights
Tests      tests/acceleration/test_copies.py
"""

from collections.abc import Callable, Hashable, Iterable, MutableMapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from labml_sd.acceleration.fingerprint import Fingerprint, fingerprint

T = TypeVar("T")


@dataclass(frozen=True)
class Copy:
    """A packed copy, and the fingerprints of the weights when it was made."""

    made_from: list[Fingerprint]
    packed: Any


# weight -> {name: Copy}; an entry goes when its weight goes
_copies: MutableMapping[Tensor, dict[Hashable, Copy]] = WeakTensorKeyDictionary()
_lock = Lock()


class Weights:
    """The weight of a layer, a part of one, or several joined along the first axis.

    `owner` is the parameter beside which copies are kept, `name` tells apart the different
    parts of one owner.
    """

    def __init__(
        self, *parts: Float[Tensor, "..."], owner: Tensor | None = None, name: str = ""
    ) -> None:
        self.parts, self.name = parts, name
        self.owner = parts[0] if owner is None else owner

    @property
    def dtype(self) -> torch.dtype:
        """Of all parts."""
        return self.parts[0].dtype

    @cached_property
    def joined(self) -> Float[Tensor, "d2 *rest"]:
        """One tensor; several parts are joined in a copy."""
        if len(self.parts) == 1:
            return self.parts[0].detach()
        return self.copy("joined", lambda weight: weight)

    def copy(self, how: Hashable, pack: Callable[[Tensor], T]) -> T:
        """`pack(weight)`: the kept copy if the weights are the same as then, else a new one."""
        key = (self.name, how)
        now = [fingerprint(part) for part in self.parts]
        with _lock:
            found = _copies.setdefault(self.owner, {}).get(key)
        if found is None or not all(
            old.matches(new) for old, new in zip(found.made_from, now, strict=True)
        ):
            weight = self.parts[0] if len(self.parts) == 1 else torch.cat(self.parts)
            found = Copy(now, pack(weight.detach()))
            with _lock:
                _copies.setdefault(self.owner, {})[key] = found
        return found.packed


def forget_moved(weights: Iterable[Tensor]) -> None:
    """Drop the copies of weights that have moved to another device or number type since."""
    for weight in weights:
        with _lock:
            copies = _copies.get(weight, {})
            for key, copy in list(copies.items()):
                if copy.made_from[0].storage[2:] != (weight.dtype, weight.device):
                    del copies[key]
