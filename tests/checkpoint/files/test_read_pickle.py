import collections
import copyreg
import datetime
import os
import pathlib
import pickle

import numpy as np
import pytest

from labml_sd.checkpoint import pickle_machine, read_pickle
from labml_sd.checkpoint.files.pickle_values import DamagedError, Inert, Name, PickleError
from labml_sd.checkpoint.files.read_pickle import PickleReader

MAIN = "c__main__\nSettings\n"  # a class of the training script


class Command:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def read(data: bytes):
    reader = PickleReader()
    return reader.load(data), reader.refused


def test_plain_data_reads_as_pickle_reads_it():
    shared = [1, 2]
    value = {
        "none": None,
        "flags": (True, False),
        "numbers": [0, -1, 255, 65536, 2**31, -(2**70), 2**2000, 0.5, float("inf")],
        "text": ["", "a", "ü" * 300, "x" * 70_000],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "shared": [shared, shared],
        3: collections.OrderedDict(a=1, b={"c": []}),
    }
    found, refused = read(pickle.dumps(value, 2))
    assert found == value
    assert found["shared"][0] is found["shared"][1]
    assert refused == set()


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_protocols_that_torch_does_not_write_are_refused(protocol):
    with pytest.raises(PickleError, match=r"pickle protocol|opcode"):
        read(pickle.dumps({"a": [1, 2.5, "text", True]}, protocol))


def test_a_command_is_named_and_not_run(tmp_path):
    target = tmp_path / "touched"
    with pytest.raises(PickleError, match=rf"^the name {os.system.__module__}\.system$"):
        read(pickle.dumps({"x": Command(f"touch {target}"), "y": 1}, 2))
    assert not target.exists()


def test_what_training_code_leaves_behind_is_passed_over_and_reported():
    value = [
        datetime.datetime(2020, 1, 2),
        collections.Counter("aab"),
        collections.defaultdict(list, a=[1]),
        pathlib.PurePosixPath("x"),
        np.float64(0.5),
        np.arange(3),
        {1, 2},
        b"bytes",
        1j,
    ]
    found, refused = read(pickle.dumps(value, 2))
    assert all(isinstance(item, Inert) for item in found)
    assert {
        "datetime.datetime",
        "collections.Counter",
        "_codecs.encode",
        "numpy.dtype",
    } <= refused


def test_a_class_of_the_training_script_may_be_named_and_made_but_not_called():
    made = b"\x80\x02" + MAIN.encode() + b")\x81}X\x01\x00\x00\x00aK\x01sb."
    assert read(made) == (Inert("__main__.Settings"), {"__main__.Settings"})
    assert read(b"\x80\x02" + MAIN.encode() + b".")[0] == Name("__main__.Settings")
    with pytest.raises(PickleError, match=r"a call of __main__\.Settings"):
        read(b"\x80\x02" + MAIN.encode() + b")R.")


def test_a_registered_extension_is_refused_and_not_looked_up():
    copyreg.add_extension("os", "system", 200)
    try:
        with pytest.raises(PickleError, match="opcode 82"):
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
        b"K\x01(\x85.",  # a tuple of what lies below the mark
        b"](K\x01u.",
        b"}(K\x01u.",  # a key without a value
        b"X\xff\xff\xff\x7fa.",  # text that is longer than the file
        b"\x8a\xff.",
        b"X\x02\x00\x00\x00\xff\xff.",  # text that is no UTF-8
        b"X\x03\x00\x00\x00\xed\xa0\x80.",  # half of a surrogate pair
        b"c" + b"a" * 300 + b"\nb\n.",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
    ],
)
def test_a_damaged_pickle_is_a_damaged_error(data):
    with pytest.raises((DamagedError, PickleError)):
        read(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "opcode ff"),
        (b"K\x01K\x02a.", "appended to something of type int"),
        (b"K\x01(K\x02K\x03u.", "set on something of type int"),
        (b"K\x01}b.", "state set on something of type int"),
        (b"comegaconf\nA\n}b.", "state set on omegaconf.A"),  # would change the class itself
        (b"comegaconf\nA\n]b.", "state set on omegaconf.A"),
        (b"ccollections\nOrderedDict\n)R]b.", "state set on something of type OrderedDict"),
        (b"X\x01\x00\x00\x00a)R.", "no function but something of type str"),
        (b"comegaconf\nA\n)\x81)R.", "no function but omegaconf.A"),
        (b"comegaconf\nA\n]R.", "no function"),
        (b"ctorch\nFloatStorage\nK\x04\x85R.", "call of torch.FloatStorage"),
        (b"ctorch\nFloatStorage\nK\x04\x85\x81.", "call of torch.FloatStorage"),
        (b"}]K\x01s.", "type list as a key"),
        (b"K\x01Q.", "no storage"),
        (
            b"(X\x07\x00\x00\x00storagecomegaconf\nA\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ.",
            "unknown kind",
        ),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x02))\x89NtR.", "without a storage"),
        (b"ctorch._utils\n_rebuild_parameter\n)R.", "call of torch._utils._rebuild_parameter"),
        (b"cos\nsystem\n.", "the name os.system"),
        (b"comegaconf\nos.system\n.", "the name omegaconf.os.system"),
        (b"comegaconfig\nA\n.", "the name omegaconfig.A"),
        (b"cos\x1b[2J\nsystem\n.", r"the name os\\x1b\[2J.system"),
    ],
)
def test_what_no_checkpoint_needs_is_named(data, message):
    with pytest.raises(PickleError, match=message):
        read(data)


@pytest.mark.parametrize(
    "second",
    [b"ctorch\nHalfStorage\nU\x010U\x03cpuK\x04", b"ctorch\nFloatStorage\nU\x010U\x03cpuK\x05"],
)
def test_a_storage_has_one_size_and_one_number_format(second):
    first = b"ctorch\nFloatStorage\nU\x010U\x03cpuK\x04"
    with pytest.raises(PickleError, match="one storage in two"):
        read(b"](U\x07storage" + first + b"tQa(U\x07storage" + second + b"tQa.")


def test_plain_keys_that_are_no_names_are_dropped():
    value = {None: 1, 0.5: 2, True: 3, ("a", 1): 4, collections.Counter: 5, "a": 6, 7: 7}
    assert read(pickle.dumps(value, 2))[0] == {"a": 6, 7: 7}


@pytest.mark.parametrize(
    "key",
    [
        b")" + b"q\x00h\x00\x86" * 200,  # its hash would visit 2^200 places
        b"]\x85",
        b"(" + b"N" * 9 + b"t",
        b"\x8a\x09"
        + (2**61 - 1).to_bytes(9, "little"),  # its multiples share one place in a dictionary
    ],
)
def test_keys_that_could_be_slow_are_refused_without_being_hashed(key):
    with pytest.raises(PickleError, match="as a key"):
        read(b"\x80\x02}" + key + b"K\x01s.")


def test_a_tuple_that_holds_another_4_to_the_1000_times_costs_nothing():
    found, _ = read(b")q\x00" + b"(h\x00h\x00h\x00h\x00tq\x00" * 1000 + b".")
    assert len(found) == 4


def test_a_list_that_holds_itself_is_data():
    found, _ = read(b"]q\x00h\x00a.")
    assert found[0] is found


def test_memory_for_the_memo_follows_its_use_not_its_largest_index():
    assert read(b"\x80\x02K\x01r\xff\xff\xff\x7f.")[0] == 1


@pytest.mark.parametrize(
    ("module", "limit", "data", "message"),
    [
        (read_pickle, "MAX_STEPS", b"N" * 101, "more than 100 steps"),
        (pickle_machine, "MAX_NAMES", b"comegaconf\nA\n" * 101, "more than 100 names"),
        (read_pickle, "MAX_BYTES", b"X\x64\x00\x00\x00" + b"a" * 101, "over 100 bytes"),
    ],
)
def test_the_limits_hold(module, limit, data, message, monkeypatch):
    monkeypatch.setattr(module, limit, 100)
    with pytest.raises(PickleError, match=message):
        read(data)
