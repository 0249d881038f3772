r"""The opcodes of a pickle that are read, and what each does on the machine.

They are the ones that torch.save writes (protocol 2), and `U`, which Python 2 wrote in the
place of `X`. Left out are all others: text forms, INST and OBJ, which call, EXT1 to EXT4, which
look names up in a table of the running program, PERSID, POP, DUP, and whatever later protocols
added.

Maps       opcode -> a function that changes a PickleMachine
Reference  the table of Python's `pickletools`; torch.load(weights_only=True) takes the same opcodes
Tests      tests/checkpoint/files/test_read_pickle.py
"""

import struct
from collections.abc import Callable
from typing import Any

from labml_sd.checkpoint.files.pickle_machine import PickleMachine
from labml_sd.checkpoint.files.pickle_values import DamagedError, PickleError

Handler = Callable[[PickleMachine], Any]


def _push(value: Any) -> Handler:
    return lambda m: m.stack.append(value)


def _number(layout: str) -> Handler:
    packed = struct.Struct(layout)
    return lambda m: m.stack.append(packed.unpack(m.take(packed.size))[0])


def _index(m: PickleMachine, n_bytes: int) -> int:
    return int.from_bytes(m.take(n_bytes), "little")


def _text(n_bytes: int) -> Handler:
    return lambda m: m.stack.append(m.take(_index(m, n_bytes)).decode("utf-8"))


def _long(m: PickleMachine) -> None:
    m.stack.append(int.from_bytes(m.take(_index(m, 1)), "little", signed=True))


def _memoize(n_bytes: int) -> Handler:
    return lambda m: m.memo.__setitem__(_index(m, n_bytes), m.stack[-1])


def _recall(n_bytes: int) -> Handler:
    return lambda m: m.stack.append(m.memo[_index(m, n_bytes)])


def _mark(m: PickleMachine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _tuple(m: PickleMachine) -> None:
    items = tuple(m.pop_to_mark())
    m.stack.append(items)


def _last(n: int) -> Handler:
    def handler(m: PickleMachine) -> None:
        items = tuple(m.stack[-n:])
        if len(items) != n:
            raise DamagedError("its pickle: empty stack")
        m.stack[-n:] = [items]

    return handler


def _make(*, call: bool) -> Handler:
    def handler(m: PickleMachine) -> None:
        args = m.stack.pop()
        m.make(m.stack.pop(), args, call=call)

    return handler


def _set_item(m: PickleMachine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.set_items([key, value])


def _protocol(m: PickleMachine) -> None:
    if (number := _index(m, 1)) != 2:
        raise PickleError(f"pickle protocol {number}; torch.save writes 2")


OPCODES: dict[bytes, Handler] = {
    b"\x80": _protocol,
    b"N": _push(None),
    b"\x88": _push(True),
    b"\x89": _push(False),
    b"J": _number("<i"),
    b"K": _number("<B"),
    b"M": _number("<H"),
    b"G": _number(">d"),
    b"\x8a": _long,
    b"X": _text(4),
    b"U": _text(1),
    b"q": _memoize(1),
    b"r": _memoize(4),
    b"h": _recall(1),
    b"j": _recall(4),
    b"(": _mark,
    b")": _push(()),
    b"t": _tuple,
    b"\x85": _last(1),
    b"\x86": _last(2),
    b"\x87": _last(3),
    b"]": lambda m: m.stack.append([]),
    b"a": lambda m: m.append([m.stack.pop()]),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"}": lambda m: m.stack.append({}),
    b"s": _set_item,
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"c": lambda m: m.look_up(m.take_line(), m.take_line()),
    b"R": _make(call=True),
    b"\x81": _make(call=False),
    b"b": lambda m: m.build(m.stack.pop()),
    b"Q": lambda m: m.refer(m.stack.pop()),
}
