r"""The machine that a restricted pickle runs on: what each thing a pickle can ask for gives here.

Lengths are checked before bytes are taken, and nothing costs more than the bytes that ask for
it are long, so the limits on bytes, steps and names bound both time and memory.

Maps       names, calls, items, states, references -> plain data, StoredTensor, Name, Inert, or PickleError
Tests      tests/checkpoint/files/test_read_pickle.py
"""

import mmap
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from labml_sd.checkpoint.files.pickle_names import may_be_called, may_be_made, may_be_named
from labml_sd.checkpoint.files.pickle_values import (
    STORAGE_DTYPES,
    DamagedError,
    Inert,
    Name,
    PickleError,
    Storage,
    StoredTensor,
    tensor,
    tensor_v2,
)
from labml_sd.checkpoint.printable import shown

MAX_NAMES = 10_000  # a pickler writes each name once
MAX_KEY = (
    2**60
)  # below it, no two whole numbers have one hash, and no dictionary of them is slow

ORDERED_DICT = "collections.OrderedDict"
TENSOR, TENSOR_V2 = "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"
PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
UNDERSTOOD = {*STORAGE_DTYPES, TENSOR, TENSOR_V2, ORDERED_DICT, *PARAMETERS}


@dataclass
class PickleMachine:
    """A stack, the stacks below each mark, and a memo.

    `refused` collects every name that was passed over, `storages` every run of numbers that was
    mentioned. `at` is where the next byte is read; after a pickle it is the byte behind it.
    """

    refused: set[str] = field(default_factory=set)
    storages: dict[str, Storage] = field(default_factory=dict)
    n_names: int = 0
    at: int = 0
    data: bytes | mmap.mmap = b""
    end: int = 0
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def take(self, n: int) -> bytes:
        """The next n bytes, when there are as many."""
        if n > self.end - self.at:
            raise DamagedError("its pickle ends too early")
        self.at += n
        return self.data[self.at - n : self.at]

    def take_line(self) -> str:
        """Up to the next line break: half of a global's name."""
        stop = self.data.find(b"\n", self.at, min(self.end, self.at + 256))
        if stop < 0:
            raise DamagedError("its pickle: a name does not end")
        line = self.take(stop + 1 - self.at)
        return line[:-1].decode("utf-8")

    def pop_to_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def look_up(self, module: str, name: str) -> None:
        """Push a stand-in for a global. Nothing is imported."""
        self.n_names += 1
        if self.n_names > MAX_NAMES:
            raise PickleError(f"more than {MAX_NAMES:,} names")
        full_name = f"{module}.{name}"
        if full_name not in UNDERSTOOD:
            if not may_be_named(module, name):
                raise PickleError(f"the name {shown(full_name)}")
            self.refused.add(shown(full_name))
        self.stack.append(Name(full_name))

    def make(self, maker: Any, args: Any, *, call: bool) -> None:
        """Push what calling (or, without `call`, creating empty) gives, for what is understood."""
        if not isinstance(maker, Name) or not isinstance(args, tuple):
            raise PickleError(f"a call of what is no function but {_kind(maker)}")
        name = maker.name
        if name == ORDERED_DICT and not args:
            result: Any = OrderedDict()
        elif name in (TENSOR, TENSOR_V2) and call:
            result = tensor(*args) if name == TENSOR else tensor_v2(*args)
        elif name in PARAMETERS and call and args and isinstance(args[0], StoredTensor):
            result = args[0]
        elif name in UNDERSTOOD or not (may_be_called(name) if call else may_be_made(name)):
            raise PickleError(f"a call of {shown(name)}")
        else:
            result = Inert(name)
        self.stack.append(result)

    def append(self, items: list[Any]) -> None:
        """Extend the list on top of the stack; a stand-in takes no notice."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Inert):
            raise PickleError(f"items appended to {_kind(self.stack[-1])}")

    def set_items(self, items: list[Any]) -> None:
        """Fill the dictionary on top of the stack; a stand-in takes no notice."""
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_dict(zip(items[::2], items[1::2], strict=True)))
        elif not isinstance(self.stack[-1], Inert):
            raise PickleError(f"items set on {_kind(self.stack[-1])}")

    def build(self, state: Any) -> None:
        """Give the object on top of the stack its state, which is dropped: nothing here needs it."""
        known = isinstance(self.stack[-1], OrderedDict) and isinstance(state, dict)
        if not known and not isinstance(self.stack[-1], Inert):
            raise PickleError(f"a state set on {_kind(self.stack[-1])}")

    def refer(self, pid: Any) -> None:
        """Push a storage. In a checkpoint, storages are all that lies outside the pickle."""
        match pid:
            # The formats differ in length: before torch 1.6 a sixth item told of views, which
            # must be None.
            case ("storage", Name(kind), str(key), str(), int(n), *view) if (
                kind in STORAGE_DTYPES and type(n) is int and 0 <= n < 2**63
            ):
                if view not in ([], [None]):
                    raise PickleError("a storage that is a view of another")
                storage = Storage(key, STORAGE_DTYPES[kind], n)
                if self.storages.setdefault(key, storage) != storage:
                    raise PickleError("one storage in two sizes or number formats")
                self.stack.append(storage)
            case ("storage", Name(kind), *_):
                raise PickleError(f"storage of an unknown kind or size, {shown(kind)}")
            case _:
                raise PickleError("reference to something that is no storage")


def _kind(value: Any) -> str:
    if isinstance(value, Name | Inert):
        return shown(value.name)
    return f"something of type {type(value).__name__}"


def _dict(pairs: Iterable[tuple[Any, Any]]) -> dict[str | int, Any]:
    """Keep what has a name or a number for a key, drop what has another plain key (a class, say)."""
    kept = {}
    for key, value in pairs:
        if isinstance(key, str) or (type(key) is int and abs(key) < MAX_KEY):
            kept[key] = value
        elif not (
            _is_plain(key)
            or (isinstance(key, tuple) and len(key) < 9 and all(map(_is_plain, key)))
        ):
            raise PickleError(f"{_kind(key)} as a key")
    return kept


def _is_plain(key: Any) -> bool:
    """True for what surely has a hash. To take the hash of nested tuples could take for ever."""
    return isinstance(key, str | float | bool | None | Name | Inert) or (
        type(key) is int and abs(key) < MAX_KEY
    )
