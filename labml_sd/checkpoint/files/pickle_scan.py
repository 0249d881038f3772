r"""Go through a pickle without building anything: what it names, what it costs, what it claims.

torch's `weights_only` reader runs nothing that a file brings along, but it can be kept busy
without end: ten opcodes describe a tuple of a billion parts, and hashing it, copying it or
printing it in an error takes all the memory and time there is. This scan keeps of every object
its size, its depth and what made it, and refuses a pickle whose reading would cost far more
than its bytes. What the pickle says of its storages is kept, to be compared with the file.

Maps       the bytes of a pickle -> stand-ins for its names, {storage: bytes}, the byte after it
Reference  torch/_weights_only_unpickler.py reads these opcodes; `pickletools` describes them
Tests      tests/checkpoint/files/test_pickle_scan.py
"""

import mmap
import pickletools
from dataclasses import dataclass
from typing import Any

from labml_sd.checkpoint.files.pickle_names import (
    CONTAINERS,
    ENCODE,
    KNOWN_TO_TORCH,
    ORDERED_DICT,
    OTHER_TENSORS,
    PARAMETER_DICT,
    STORAGES,
    may_be_called,
    may_be_named,
    modern_name,
)
from labml_sd.checkpoint.files.stand_ins import (
    DictStandIn,
    ListStandIn,
    ParameterDictStandIn,
    StandIn,
)
from labml_sd.checkpoint.files.torch_errors import (
    TorchFileError,
    damaged,
    suspicious,
    unsupported,
)
from labml_sd.checkpoint.printable import shown

MAX_BYTES = 2**24  # the official v1 pickle has under 1 MB; the numbers lie outside
MAX_STEPS = 500_000  # a tensor takes 32, and a training checkpoint has some 4,500
MAX_NAMES = 1_000  # a pickler writes each name once
MAX_DEPTH = 1_000  # Python's pickler goes no deeper
MAX_COST = 2**22  # objects copied or hashed; a training checkpoint has some 200,000
MAX_KEY = 2**60  # below it no two whole numbers have the same hash

NAMES = {ord(op.code): op.name for op in pickletools.opcodes}
DICT, LIST, STORAGE = "dict", "list", "storage"


def _codes(**values: int) -> dict[int, int]:
    return {code: values[name] for code, name in NAMES.items() if name in values}


# How many bytes an opcode's argument has; of a text, how many bytes say how long it is.
VALUES = _codes(BININT=4, BININT2=2, BINFLOAT=8, NONE=0, NEWTRUE=0, NEWFALSE=0)
TEXTS = _codes(BINUNICODE=4, SHORT_BINSTRING=1)
# How many objects an opcode takes from the stack; 0 stands for all above the last mark.
TUPLES = _codes(TUPLE1=1, TUPLE2=2, TUPLE3=3, TUPLE=0)
APPENDS, SETS = _codes(APPEND=1, APPENDS=0), _codes(SETITEM=2, SETITEMS=0)
CALLS, PERSISTENT = _codes(REDUCE=2, NEWOBJ=2), _codes(BINPERSID=1)
TAKES = TUPLES | APPENDS | SETS | CALLS | PERSISTENT | _codes(BUILD=1)
MARK, EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT, GLOBAL, BUILD, STOP = b"()]}cb."
BINPUT, LONG_BINPUT, BINGET, LONG_BINGET, BININT1, LONG1, PROTO = b"qrhjK\x8a\x80"


@dataclass(slots=True)
class Item:
    """What is known of an object: a name, a tuple with its parts, or what something made.

    `size` counts the objects inside as if nothing were shared. Texts and numbers are no items:
    they lie on the stack as they are.
    """

    size: int = 1
    depth: int = 0
    parts: list[Any] | None = None
    name: str = ""
    maker: str = ""

    @property
    def is_plain(self) -> bool:
        """True for a tuple, list or dictionary; a tensor could have any number of rows."""
        return self.parts is not None or self.maker in (DICT, LIST)


NO_ARGUMENTS = Item(parts=[])


class PickleScan:
    """Reads one pickle after another; limits, names and storages are those of all together.

    `stand_ins` has a class for every name that torch itself does not know, `storages` the bytes
    that each storage should have, and `outermost` says what made the last pickle's value.
    """

    def __init__(self) -> None:
        self.stand_ins: dict[str, type[StandIn]] = {}
        self.storages: dict[str, int] = {}
        self.outermost = ""
        self.n_steps = self.n_names = self.n_odd_keys = self.cost = 0
        self._callable: set[str] = set()
        self._odd_states: set[str] = set()

    def read(self, data: bytes | mmap.mmap, start: int = 0) -> int:
        """Scan the pickle at byte `start`; return the byte after it. Raises TorchFileError."""
        try:
            end = self._read(data, start)
        except (IndexError, KeyError, ValueError) as error:
            raise damaged(f"its pickle: {shown(error)}") from error
        for name in self._odd_states:
            if self.stand_ins.get(name) is DictStandIn:
                raise unsupported(f"the state of {shown(name)}")
        return end

    def _read(self, data: bytes | mmap.mmap, at: int) -> int:
        stack: list[Any] = []
        marks: list[int] = []
        memo: dict[int, Any] = {}
        limit = at + MAX_BYTES
        for n_steps in range(MAX_STEPS - self.n_steps):
            code, at = data[at], at + 1
            if code == BINGET:
                stack.append(memo[data[at]])
                at += 1
            elif code == LONG_BINPUT:
                at += 4
                memo[int.from_bytes(data[at - 4 : at], "little")] = stack[-1]
            elif code == BININT1:
                stack.append(data[at])
                at += 1
            elif code in VALUES:
                at += (n := VALUES[code])
                stack.append(int.from_bytes(data[at - n : at], "little") if n else None)
            elif code in TAKES:
                self._take(code, stack, marks)
            elif code == MARK:
                marks.append(len(stack))
            elif code in TEXTS:
                at += (n := TEXTS[code])
                n = int.from_bytes(data[at - n : at], "little")
                if n > min(len(data), limit) - at:
                    raise _text_too_long(limit < len(data))
                stack.append(data[at : at + n])
                at += n
            elif code == BINPUT:
                memo[data[at]] = stack[-1]
                at += 1
            elif code == LONG_BINGET:
                at += 4
                stack.append(memo[int.from_bytes(data[at - 4 : at], "little")])
            elif code == STOP:
                self.n_steps += n_steps
                top = stack.pop()
                self.outermost = top.maker if type(top) is Item else type(top).__name__
                return at
            else:
                at = self._push_other(code, data, at, stack)
        raise suspicious(f"a pickle of more than {MAX_STEPS:,} steps")

    def _push_other(self, code: int, data: bytes | mmap.mmap, at: int, stack: list[Any]) -> int:
        """Run one of the rarer opcodes and return the byte after it."""
        if code == EMPTY_TUPLE:
            stack.append(NO_ARGUMENTS)
        elif code in (EMPTY_DICT, EMPTY_LIST):
            stack.append(Item(maker=DICT if code == EMPTY_DICT else LIST))
        elif code == GLOBAL:
            module, name, _ = data[at : at + 512].split(b"\n", 2)
            stack.append(self._look_up(module.decode(), name.decode()))
            return at + len(module) + len(name) + 2
        elif code == LONG1:
            n = data[at]
            stack.append(int.from_bytes(data[at + 1 : at + 1 + n], "little", signed=True))
            return at + 1 + n
        elif code == PROTO:
            if data[at] != 2:
                raise unsupported(f"pickle protocol {data[at]}")
            return at + 1
        else:
            raise unsupported(f"the opcode {NAMES.get(code, hex(code))}")
        return at

    def _look_up(self, module: str, name: str) -> Item:
        """Prepare a stand-in for a name that torch does not know."""
        full_name = modern_name(module, name)
        self.n_names += 1
        if self.n_names > MAX_NAMES:
            raise suspicious(f"more than {MAX_NAMES:,} names")
        if full_name in OTHER_TENSORS:
            raise unsupported(f"tensors that are made by {full_name}")
        if "." in name or not may_be_named(full_name):  # a dot would lead into another module
            raise suspicious(f"the name {shown(full_name)}")
        if full_name not in KNOWN_TO_TORCH:
            is_known = full_name == PARAMETER_DICT
            kind = ParameterDictStandIn if is_known else StandIn
            self.stand_ins.setdefault(full_name, kind)
        if may_be_called(full_name):
            self._callable.add(full_name)
        return Item(name=full_name)

    def _take(self, code: int, stack: list[Any], marks: list[int]) -> None:
        """Run an opcode that takes objects from the stack."""
        start = len(stack) - TAKES[code] if TAKES[code] else marks.pop()
        if start < (marks[-1] if marks else 0):
            raise damaged("its pickle: empty stack")
        items = stack[start:]
        del stack[start:]
        size, depth = 1, 1
        for item in items:
            if type(item) is Item:
                size += item.size
                if item.depth >= depth:
                    depth = item.depth + 1
            else:
                size += 1 + len(item) // 64 if type(item) is bytes else 1
        if code in TUPLES:
            stack.append(Item(size, depth, items))
        elif code in CALLS:
            stack.append(Item(size, depth, None, "", self._call(*items)))
        elif code in PERSISTENT:
            self._mention(items[0])
            stack.append(Item(1, 0, None, "", STORAGE))
        else:
            self._fill(code, stack[-1], items)
            stack[-1].size += size
            stack[-1].depth = max(stack[-1].depth, depth)
        if depth > MAX_DEPTH:
            raise suspicious(f"a pickle more than {MAX_DEPTH:,} levels deep")
        if self.cost > MAX_COST:
            raise suspicious("a pickle that would take far more work than its size warrants")

    def _call(self, function: Any, arguments: Any) -> str:
        """Look at a call before torch makes it, and return the name of what is called."""
        name = function.name if type(function) is Item else ""
        parts = arguments.parts if type(arguments) is Item else None
        if not name or parts is None:
            raise suspicious(f"a call of {shown(name) or 'what is no name'}")
        allowed = name in self._callable
        if name == ORDERED_DICT:
            allowed = not parts
        elif name == ENCODE:
            allowed = parts[1:] == [b"latin1"]
        elif name in CONTAINERS:
            allowed = len(parts) < 2 and all(type(p) is Item and p.is_plain for p in parts)
            self.cost += arguments.size**2  # hashes may be equal: each is compared with all
        if not allowed:
            raise suspicious(f"a call of {shown(name)}")
        self.cost += arguments.size + len(self.stand_ins)  # torch lists them at each call
        return name

    def _fill(self, code: int, target: Any, items: list[Any]) -> None:
        """Look at what is put into a list, a dictionary or an object."""
        maker = target.maker if type(target) is Item else ""
        if code == BUILD:
            self._set_state(maker, items[0])
        elif maker in self.stand_ins:
            self.stand_ins[maker] = DictStandIn if code in SETS else ListStandIn
        elif maker not in ((DICT, ORDERED_DICT) if code in SETS else (LIST,)):
            raise suspicious(f"items put into {shown(maker) or 'a value'}")
        for key in items[::2] if code in SETS else ():
            if not (type(key) is bytes or (type(key) is int and abs(key) < MAX_KEY)):
                self.n_odd_keys += 1  # their hashes may be equal too
                self.cost += self.n_odd_keys + (key.size if type(key) is Item else 1)

    def _set_state(self, maker: str, state: Any) -> None:
        """Stand-ins drop their state. An ordered dictionary copies it: it must be plain too."""
        if type(state) is not Item or state.maker not in (DICT, ORDERED_DICT):
            self._odd_states.add(maker)
        if maker not in self.stand_ins and (maker != ORDERED_DICT or maker in self._odd_states):
            raise suspicious(f"a state set on {shown(maker) or 'a value'}")
        self.cost += state.size if type(state) is Item else 1

    def _mention(self, reference: Any) -> None:
        """Note what the pickle says of a storage, the only thing that lies outside it."""
        parts = reference.parts if type(reference) is Item else None
        if parts and parts[0] == b"module":
            raise unsupported("whole modules in the format before torch 1.6")
        # There, a sixth part told of views, and must be None.
        if not parts or len(parts) not in (5, 6) or parts[0] != b"storage":
            raise suspicious("a reference to something that is no storage")
        _, kind, key, location, n, *view = parts
        name = kind.name if type(kind) is Item else ""
        if name not in STORAGES or type(key) is not bytes or type(location) is not bytes:
            raise suspicious(f"a storage of an unknown kind, {shown(name)}")
        if view not in ([], [None]):
            raise unsupported("storages that are views of others")
        if type(n) is not int or not 0 <= n < 2**60:
            raise suspicious("a storage of no size")
        n_bytes = n * STORAGES[name]
        if self.storages.setdefault(key.decode(), n_bytes) != n_bytes:
            raise suspicious("one storage in two sizes")


def _text_too_long(in_long_file: bool) -> TorchFileError:
    if in_long_file:
        return suspicious(f"a pickle of over {MAX_BYTES:,} bytes")
    return damaged("its pickle ends too early")
