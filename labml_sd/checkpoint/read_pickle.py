r"""Read a pickle without letting it do anything: a small machine that can build data, and no more.

A pickle is a program. Python's own reader imports whatever modules the program names and calls what it finds
there, which is how a checkpoint can run commands. This reader steps through the same opcodes and knows three
kinds of values: plain data, tensors, and `Inert` stand-ins for everything else. It imports nothing and calls
nothing.

Room       checkpoint, called by read_torch.py
Maps       a stream of opcodes -> numbers, strings, tuples, lists, dicts, StoredTensor, Inert
Reference  the opcode table of Python's `pickletools`, which decodes opcodes and executes none
See        tests/checkpoint/test_read_pickle.py
"""

import io
import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from labml_sd.checkpoint.pickle_values import STORAGE_DTYPES, Inert, PickleError, Storage, StoredTensor

ORDERED_DICT = "collections.OrderedDict"
TENSORS = ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2")
PARAMETER = "torch._utils._rebuild_parameter"
UNDERSTOOD = {*STORAGE_DTYPES, *TENSORS, ORDERED_DICT, PARAMETER}


@dataclass
class PickleReader:
    """The machine: a stack, marks in it, and a memo.

    `refused` collects every name that was not understood, `storages` every run of numbers that was mentioned.
    """

    refused: set[str] = field(default_factory=set)
    storages: dict[str, Storage] = field(default_factory=dict)
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def load(self, stream: io.BytesIO | mmap.mmap) -> Any:
        """Read one pickle from the stream, up to its STOP. Raises PickleError."""
        self.stack, self.marks, self.memo = [], [], {}
        try:
            for opcode, arg, _ in pickletools.genops(cast(BinaryIO, stream)):
                if opcode.name not in OPCODES:
                    raise PickleError(f"opcode {opcode.name}")
                OPCODES[opcode.name](self, arg)
            return self.stack.pop()
        except PickleError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
            raise PickleError(f"damaged ({error})") from error

    def pop_to_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def look_up(self, name: str) -> None:
        """Push a stand-in for a global. Nothing is imported."""
        if name not in UNDERSTOOD:
            self.refused.add(name)
        self.stack.append(Inert(name))

    def call(self, function: Any, args: Any) -> None:
        """Push what a call would give, for the four constructors that are understood."""
        name = function.name if isinstance(function, Inert) else type(function).__name__
        if not isinstance(args, tuple):
            args = ()
        if name == ORDERED_DICT:
            result: Any = _dict(pair for pair in args[0]) if args and isinstance(args[0], list) else {}
        elif name in TENSORS:
            result = _tensor(*args[:4])
        elif name == PARAMETER:
            result = args[0]
        else:
            result = Inert(name)
        self.stack.append(result)

    def append(self, items: list[Any]) -> None:
        """Extend the list on top of the stack; a stand-in takes no notice."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif not isinstance(self.stack[-1], Inert):
            raise PickleError(f"items appended to a {type(self.stack[-1]).__name__}")

    def set_items(self, items: list[Any]) -> None:
        """Fill the dictionary on top of the stack; a stand-in takes no notice."""
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(_dict(zip(items[::2], items[1::2], strict=True)))
        elif not isinstance(self.stack[-1], Inert):
            raise PickleError(f"items set on a {type(self.stack[-1]).__name__}")

    def persistent(self, pid: Any) -> None:
        """Push a storage. In a checkpoint, storages are all that lies outside the pickle."""
        match pid:
            # The formats differ in length: before torch 1.6 a sixth item told of views, which must be None.
            case ("storage", Inert(kind), str(key), str(), int(n), *view) if (
                kind in STORAGE_DTYPES and n >= 0
            ):
                if view not in ([], [None]):
                    raise PickleError("a storage that is a view of another")
                self.storages[key] = Storage(key, STORAGE_DTYPES[kind], n)
                self.stack.append(self.storages[key])
            case ("storage", Inert(kind), *_):
                raise PickleError(f"storage of an unknown kind, {kind}")
            case _:
                raise PickleError("reference to something that is no storage")


def _dict(pairs: Any) -> dict[str | int, Any]:
    """Keep names and numbers as keys. To hash others, say nested tuples, could take for ever."""
    return {key: value for key, value in pairs if isinstance(key, (str, int))}


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
    whole = (offset, *shape, *stride)
    if not isinstance(storage, Storage) or len(shape) != len(stride):
        raise PickleError("a tensor without a storage")
    if not all(type(n) is int and 0 <= n < 2**63 for n in whole):
        raise PickleError("a tensor whose shape is no row of whole numbers")
    return StoredTensor(storage, offset, tuple(shape), tuple(stride))


Handler = Callable[[PickleReader, Any], Any]


def _push(m: PickleReader, arg: Any) -> None:
    m.stack.append(arg)


def _nothing(m: PickleReader, arg: Any) -> None:
    """PROTO, FRAME and STOP carry nothing that is needed here."""


def _pop(m: PickleReader, arg: Any) -> None:
    """Pop an item, or a mark when that is on top: both lie on one stack in Python's description."""
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.stack.pop()


def _last(n: int) -> Handler:
    def handler(m: PickleReader, arg: Any) -> None:
        items = tuple(m.stack[len(m.stack) - n :])
        del m.stack[len(m.stack) - n :]
        if len(items) != n:
            raise PickleError("damaged (empty stack)")
        m.stack.append(items)

    return handler


def _stack_global(m: PickleReader, arg: Any) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.look_up(
        f"{module}.{name}" if isinstance(name, str) and isinstance(module, str) else "a name that is no text"
    )


def _call(m: PickleReader, arg: Any) -> None:
    args = m.stack.pop()
    m.call(m.stack.pop(), args)


def _call_with_keywords(m: PickleReader, arg: Any) -> None:
    m.stack.pop()
    _call(m, arg)


def _instance(m: PickleReader, arg: str) -> None:
    m.pop_to_mark()
    m.look_up(arg.replace(" ", "."))


def _set_item(m: PickleReader, arg: Any) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.set_items([key, value])


def _pairs(m: PickleReader, arg: Any) -> None:
    items = m.pop_to_mark()
    m.stack.append({})
    m.set_items(items)


def _inert(name: str) -> Handler:
    return lambda m, arg: m.stack.append(Inert(name))


def _inert_from_mark(m: PickleReader, arg: Any) -> None:
    m.pop_to_mark()
    m.stack.append(Inert("builtins.frozenset"))


def _memoize(m: PickleReader, arg: int) -> None:
    m.memo[arg] = m.stack[-1]


DATA = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
# Left out on purpose: EXT1, EXT2, EXT4 (look names up in a global table), NEXT_BUFFER, READONLY_BUFFER.
OPCODES: dict[str, Handler] = {
    **dict.fromkeys(DATA.split(), _push),
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, arg: m.stack.append(m.memo[arg])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _memoize),
    "MEMOIZE": lambda m, arg: _memoize(m, len(m.memo)),
    "NONE": lambda m, arg: m.stack.append(None),
    "NEWTRUE": lambda m, arg: m.stack.append(True),
    "NEWFALSE": lambda m, arg: m.stack.append(False),
    "MARK": lambda m, arg: m.marks.append(len(m.stack)),
    "POP": _pop,
    "POP_MARK": lambda m, arg: m.pop_to_mark(),
    "DUP": lambda m, arg: m.stack.append(m.stack[-1]),
    "EMPTY_TUPLE": lambda m, arg: m.stack.append(()),
    "EMPTY_LIST": lambda m, arg: m.stack.append([]),
    "EMPTY_DICT": lambda m, arg: m.stack.append({}),
    "EMPTY_SET": _inert("builtins.set"),
    "FROZENSET": _inert_from_mark,
    "TUPLE": lambda m, arg: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": _last(1),
    "TUPLE2": _last(2),
    "TUPLE3": _last(3),
    "LIST": lambda m, arg: m.stack.append(m.pop_to_mark()),
    "DICT": _pairs,
    "APPEND": lambda m, arg: m.append([m.stack.pop()]),
    "APPENDS": lambda m, arg: m.append(m.pop_to_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda m, arg: m.set_items(m.pop_to_mark()),
    "ADDITEMS": lambda m, arg: m.append(m.pop_to_mark()),
    "GLOBAL": lambda m, arg: m.look_up(arg.replace(" ", ".")),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _call_with_keywords,
    "INST": _instance,
    "OBJ": lambda m, arg: m.stack.append(m.pop_to_mark()[0]),
    "BUILD": lambda m, arg: m.stack.pop(),
    "PERSID": lambda m, arg: m.persistent(arg),
    "BINPERSID": lambda m, arg: m.persistent(m.stack.pop()),
}
