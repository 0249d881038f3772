import collections
import copyreg
import datetime
import io
import os
import pickle

import pytest

from labml_sd.checkpoint.pickle_values import Inert, PickleError
from labml_sd.checkpoint.read_pickle import PickleReader


class Command:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def read(data: bytes):
    reader = PickleReader()
    return reader.load(io.BytesIO(data)), reader.refused


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_reads_as_pickle_reads_it(protocol):
    shared = [1, 2]
    value = {
        "none": None,
        "flags": (True, False),
        "numbers": [0, -1, 255, 65536, 2**31, -(2**70), 2**2100, 0.5, float("inf")],
        "text": ["", "a", "ü" * 300, "x" * 70_000],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "shared": [shared, shared],
        3: collections.OrderedDict(a=1, b={"c": []}),
    }
    found, refused = read(pickle.dumps(value, protocol))
    assert found == value
    assert found["shared"][0] is found["shared"][1]
    assert refused == set()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_command_is_named_and_not_run(protocol, tmp_path):
    target = tmp_path / "touched"
    found, refused = read(pickle.dumps({"x": Command(f"touch {target}"), "y": 1}, protocol))
    assert found == {"x": Inert(f"{os.system.__module__}.system"), "y": 1}
    assert refused == {f"{os.system.__module__}.system"}
    assert not target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"(S'touch x'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch x'\no.",  # OBJ
        b"cos\nsystem\n(S'touch x'\ntR.",  # GLOBAL, REDUCE
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x07touch x\x85\x81.",  # STACK_GLOBAL, NEWOBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.",  # NEWOBJ_EX
        b"cos\nsystem\n}(S'x'\nI1\nub.",  # BUILD
        b"cbuiltins\nexec\n(S'1/0'\ntR.",
        b"cbuiltins\ngetattr\n(cos\nO\ntR.",
    ],
)
def test_every_way_to_make_an_object_gives_a_stand_in(data):
    found, refused = read(data)
    assert isinstance(found, Inert)
    assert refused


def test_objects_of_other_classes_take_their_items_and_stay_empty():
    value = [
        datetime.date(2020, 1, 2),
        collections.Counter("aab"),
        collections.deque([1]),
        {1, 2},
        frozenset("a"),
    ]
    found, refused = read(pickle.dumps(value))
    assert all(isinstance(item, Inert) for item in found)
    assert refused == {"datetime.date", "collections.Counter", "collections.deque"}


def test_a_registered_extension_is_refused_and_not_looked_up():
    copyreg.add_extension("os", "system", 200)
    try:
        with pytest.raises(PickleError, match="opcode EXT1"):
            read(b"\x80\x02\x82\xc8.")
    finally:
        copyreg.remove_extension("os", "system", 200)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02",  # no STOP
        b".",  # nothing on the stack
        b"\x80\x02h\x05.",  # memo entry that is not there
        b"\x80\x02a.",
        b"\x80\x02u.",  # no mark
        b"\x80\x02\x87.",  # three of an empty stack
        b"I1\nI2\na.",  # append to a number
        b"I1\n(I2\nI3\nu.",  # set an item of a number
        b"](I1\nu.",
        b"}(I1\nu.",  # a key without a value
        b"\xff",
        b"X\xff\xff\xff\x7fa.",  # text that is longer than the file
        b"Pname\n.",
        b"I1\nQ.",
        b"(S'storage'\ncos\nsystem\nS'0'\nS'cpu'\nI4\ntQ.",  # storage of an unknown kind
        b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI2\nI3\nI4\ntR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"ctorch._utils\n_rebuild_parameter\n)R.",
    ],
)
def test_a_damaged_pickle_is_a_pickle_error(data):
    with pytest.raises(PickleError):
        read(data)


def test_keys_that_are_no_names_are_dropped_without_being_hashed():
    deep = ()
    for _ in range(200):
        deep = (deep, deep)  # its hash visits 2^200 places
    data = b"\x80\x02}" + b")" + b"2\x86" * 200 + b"K\x01sU\x01aK\x02s."
    assert read(data)[0] == {"a": 2}


def test_memory_for_the_memo_follows_its_use_not_its_largest_index():
    assert read(b"\x80\x02K\x01r\xff\xff\xff\x7f.")[0] == 1
