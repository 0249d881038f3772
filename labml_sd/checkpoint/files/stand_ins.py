r"""Inert objects for what training programs leave in a checkpoint, and torch's allow-list.

`torch.load(weights_only=True)` never imports what a pickle names: it looks each name up in
torch's own list and in a second one, `torch.serialization.safe_globals`. There every further
name leads to one of the three classes below, whatever it is the name of.

Maps       {name: class} -> a context in which torch makes objects of these classes
Tests      tests/checkpoint/files/test_stand_ins.py
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)

_LOCK = threading.RLock()  # the list belongs to the whole process


class StandIn:
    """Takes any arguments and any state, and keeps none of them."""

    def __new__(cls, *_: Any) -> Any:
        """An object without content."""
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Drop it."""


class DictStandIn(StandIn):
    """For classes whose objects are filled as dictionaries are; torch fills its own only."""

    def __new__(cls, *_: Any) -> Any:
        """A dictionary that also accepts attributes."""
        return OrderedDict()


class ListStandIn(StandIn):
    """For classes whose objects are filled as lists are."""

    def __new__(cls, *_: Any) -> Any:
        """An empty list."""
        return []


class ParameterDictStandIn(StandIn, dict[str, Tensor]):
    """For torch's ParameterDict: a dictionary of the tensors in its state, and nothing else."""

    def __setstate__(self, state: Any) -> None:
        """Keep the tensors."""
        inside = state.get("_parameters") if isinstance(state, dict) else None
        if isinstance(inside, dict):
            tensors = {k: v for k, v in inside.items() if isinstance(v, Tensor)}
            self.update({key: tensor for key, tensor in tensors.items() if type(key) is str})


@contextmanager
def standing_in(kinds: Mapping[str, type[StandIn]]) -> Iterator[None]:
    """Within the block torch's reader finds these classes under these names, and no others.

    What the program itself has allowed stays allowed, except for these names: a file gets the
    stand-in for them. Afterwards, also after an error, the list is what it was before.
    """
    with _LOCK:
        allowed = get_safe_globals()
        others = [entry for entry in allowed if _name(entry) not in kinds]
        if len(others) < len(allowed):
            clear_safe_globals()
            add_safe_globals(others)
        try:
            with safe_globals([(kind, name) for name, kind in kinds.items()]):
                yield
        finally:
            add_safe_globals(allowed)


def _name(entry: Any) -> str:
    """The name under which torch looks an entry of its list up."""
    return entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}"
