import collections
import os
import pickle
import pickletools

import pytest
from hostile import STORAGE, TENSOR, text

from labml_sd.checkpoint.files import pickle_scan
from labml_sd.checkpoint.files.pickle_scan import PickleScan
from labml_sd.checkpoint.files.stand_ins import DictStandIn, ListStandIn, StandIn
from labml_sd.checkpoint.files.torch_errors import TorchFileError

MAIN = b"c__main__\nSettings\n"  # a class of the training program
SET, COUNTER, ORDERED = (
    b"c__builtin__\nset\n",
    b"ccollections\nCounter\n",
    b"ccollections\nOrderedDict\n",
)
REBUILD = b"ctorch._utils\n_rebuild_tensor\n"


def scan(body: bytes) -> PickleScan:
    found = PickleScan()
    assert found.read(b"\x80\x02" + body + b".") == len(body) + 3
    return found


class Values(dict):
    pass


def test_opcodes_are_read_to_the_last_byte_as_pickletools_reads_them():
    shared = [1, 2]
    value = {
        "none": None,
        "flags": (True, False),
        "numbers": [0, -1, 255, 65536, 2**31, -(2**70), 0.5, float("inf")],
        "text": ["", "a", "ü" * 300, "x" * 70_000],
        "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "shared": [shared, shared, *([i] for i in range(300))],
        3: collections.OrderedDict(a=1, b={"c": []}),
    }
    data = pickle.dumps(value, 2)
    found = PickleScan()
    assert found.read(b"before" + data + b"behind", 6) == 6 + len(data)
    assert found.n_steps == len(list(pickletools.genops(data))) - 1
    assert found.outermost == "dict" and not found.stand_ins


def test_stand_ins_are_of_the_kind_that_torch_can_fill():
    value = [collections.deque([1]), Values(a=1), slice(1, 2), collections.Counter("a"), {1}]
    assert scan(pickle.dumps(value, 2)[2:-1]).stand_ins == {
        "collections.deque": ListStandIn,
        f"{__name__}.Values": DictStandIn,
        "builtins.slice": StandIn,
    }


def test_storages_have_the_bytes_that_their_type_says():
    untyped = STORAGE.replace(b"ctorch\nFloat", b"ctorch.storage\nUntyped").replace(
        b"\x000", b"\x001"
    )
    assert scan(b"](" + TENSOR + untyped + b"e").storages == {"0": 8, "1": 2}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x02",  # no STOP
        b".",  # nothing on the stack
        b"h\x05.",  # a memo entry that is not there
        b"a.",
        b"u.",  # no mark
        b"\x87.",  # three of an empty stack
        b"K\x01(\x85.",  # a tuple of what lies below the mark
        b"](K\x01u.",
        b"X\xff\xff\xff\x7fa.",  # a text that is longer than the file
        b"\x8a\xff.",
        b"c" + b"a" * 600 + b"\nb\n.",
        b"cos\n.",
    ],
)
def test_a_damaged_pickle_is_refused(data):
    with pytest.raises(TorchFileError):
        PickleScan().read(data)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"cos\nsystem\n", "the name os.system"),
        (b"c__builtin__\neval\n", r"the name builtins\.eval"),
        (b"comegaconf\nos.system\n", "the name omegaconf.os.system"),
        (b"cos\x1b[2J\nsystem\n", r"the name os\\x1b\[2J.system"),
        (MAIN + b"cyaml\nload\n)R", r"a call of yaml\.load"),
        (b"cyaml\nload\n)\x81", r"a call of yaml\.load"),
        (text("a") + b")R", "a call of what is no name"),
        (MAIN + b")\x81)R", "a call of what is no name"),
        (MAIN + b"]R", "a call of __main__.Settings"),  # its parts would be arguments
        (MAIN + TENSOR + b"R", "a call of __main__.Settings"),
        (b"ctorch\nFloatStorage\nK\x04\x85R", r"a call of torch\.FloatStorage"),
        (
            b"ctorch.storage\nUntypedStorage\nK\x04\x85R",
            "a call of torch.storage.UntypedStorage",
        ),
        (b"ctorch\nfloat16\n)R", r"a call of torch\.float16"),
        (b"ctorch.nn.functional\nrelu\n)R", r"a call of torch\.nn\.functional\.relu"),
        (SET + TENSOR + b"\x85R", r"a call of builtins\.set"),  # a tensor's rows
        (COUNTER + TENSOR + b"\x85R", r"a call of collections\.Counter"),
        (ORDERED + b"](" + TENSOR + b"e\x85R", r"a call of collections\.OrderedDict"),
        (
            b"c_codecs\nencode\n" + text("a") + text("idna") + b"\x86R",
            r"a call of _codecs\.encode",
        ),
        (b"ctorch._utils\n_rebuild_qtensor\n", "does not support tensors that are made by"),
        (b"K\x01K\x02a", "items put into a value"),
        (b"K\x01(K\x02K\x03u", "items put into a value"),
        (MAIN + b"K\x02a", "items put into a value"),
        (b"K\x01}b", "a state set on a value"),
        (MAIN + b"}b", "a state set on a value"),  # would change the class itself
        (TENSOR + b"}b", r"a state set on torch\._utils\._rebuild_tensor_v2"),
        (ORDERED + b")R]b", r"a state set on collections\.OrderedDict"),
        (ORDERED + b")R" + TENSOR + b"b", r"a state set on collections\.OrderedDict"),
        (b"](" + MAIN + b")\x81q\0]b" + b"h\0K\1K\1s" + b"e", "the state of __main__.Settings"),
        (b"K\x01Q", "no storage"),
        (text("0") + b"Q", "no storage"),
        (b"(" + text("module") + MAIN + b"tQ", "whole modules"),
        (STORAGE.replace(b"Float", b"Other"), "the name torch.OtherStorage"),
        (STORAGE.replace(b"ctorch\nFloatStorage\n", MAIN), "a storage of an unknown kind"),
        (STORAGE.replace(b"K\2t", b"\x8a\1\xfft"), "a storage of no size"),
        (STORAGE.replace(b"K\2t", b"Nt"), "a storage of no size"),
        (STORAGE.replace(b"tQ", b"K\0tQ"), "views of others"),
        (
            b"](" + STORAGE + STORAGE.replace(b"Float", b"Half") + b"e",
            "one storage in two sizes",
        ),
        (
            b"](" + STORAGE + STORAGE.replace(b"K\2t", b"K\3t") + b"e",
            "one storage in two sizes",
        ),
    ],
)
def test_what_no_checkpoint_needs_is_named(body, message):
    with pytest.raises(TorchFileError, match=message):
        scan(body)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (pickle.dumps({"a": (1, 2)}, 4), "pickle protocol 4"),
        (pickle.dumps([1.5, "text"], 5), "pickle protocol 5"),
        (pickle.dumps({"a": 1}, 0), "opcode MARK|opcode INT|opcode"),
        (pickle.dumps(2**3000, 2), "opcode LONG4"),
        (b"\x80\x02\x82\xc8.", "opcode EXT1"),  # an entry in a table of the process
        (b"\x80\x02\x83\xc8\0.", "opcode EXT2"),
        (b"\x80\x02\x84\xc8\0\0\0.", "opcode EXT4"),
        (b"\x80\x02Pname\n.", "opcode PERSID"),
        (b"\x80\x02(ios\nsystem\n.", "opcode INST"),
        (b"\x80\x02(cos2\nB\no.", "opcode OBJ"),
        (b"\x80\x02}\x92.", "opcode NEWOBJ_EX"),
        (b"\x80\x02\x93.", "opcode STACK_GLOBAL"),
        (b"\x80\x02N0.", "opcode POP"),
        (b"\x80\x02\xff.", "opcode 0xff"),
    ],
)
def test_what_torch_does_not_read_is_named_with_the_way_to_convert_it(data, what):
    with pytest.raises(TorchFileError, match=rf"does not support .*({what}).* python -c"):
        PickleScan().read(data)


LAUGHS = b"()q\0" + b"(h\0h\0h\0h\0tq\0" * 100 + b"t"  # a tuple of 4^100 others
BIG = b"](" + b"N" * 3000 + b"eq\1"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b"}" + LAUGHS + b"Ns", "work", id="the hash of a billion laughs"),
        pytest.param(SET + LAUGHS + b"\x85R", "work", id="a set of them"),
        pytest.param(LAUGHS + b"Q", "no storage", id="a reference to them"),
        pytest.param(LAUGHS + b")R", "no name", id="a call of them, printed in the error"),
        pytest.param(
            b"}("
            + b"".join(
                b"\x8a\x0b" + (i * (2**61 - 1)).to_bytes(11, "little") + b"N"
                for i in range(3000)
            )
            + b"u",
            "work",
            id="numbers with one hash",
        ),
        pytest.param(
            b"}(" + b"".join(b"K\1K\2\x86N" for _ in range(3000)) + b"u",
            "work",
            id="tuples, perhaps with one hash",
        ),
        pytest.param(SET + BIG + b"\x85R", "work", id="a set that may be full of equal hashes"),
        pytest.param(
            BIG + b"\x85q\2" + MAIN + b"q\3](" + b"h\3h\2R" * 3000 + b"e",
            "work",
            id="one list for many calls",
        ),
        pytest.param(
            ORDERED
            + b"q\2}("
            + b"".join(text(f"{i}") + b"N" for i in range(3000))
            + b"uq\1]("
            + b"h\2)Rh\1b" * 900
            + b"e",
            "work",
            id="one state for many dictionaries",
        ),
        pytest.param(
            b"("
            + b"K\1" * 30_000
            + b"tq\0"
            + STORAGE
            + b"q\1"
            + REBUILD
            + b"q\2]("
            + b"h\2(h\1K\0h\0h\0tR" * 100
            + b"e",
            "work",
            id="one long shape for many tensors",
        ),
        pytest.param(
            text("a" * 2**20)
            + b"q\0"
            + text("latin1")
            + b"q\1c_codecs\nencode\nq\2]("
            + b"h\2h\0h\1\x86R" * 300
            + b"e",
            "work",
            id="one long text for many bytes",
        ),
        pytest.param(b")" + b"\x85" * 5000, "levels deep", id="a deep tuple"),
        pytest.param(b"]" * 5000 + b"a" * 4999, "levels deep", id="a deep list"),
    ],
)
def test_a_pickle_that_would_cost_far_more_than_its_bytes_is_refused(body, message):
    with pytest.raises(TorchFileError, match=message):
        PickleScan().read(b"\x80\x02" + body + b".")


@pytest.mark.parametrize(
    "body", [LAUGHS, b"]q\0h\0a", b"}q\0" + text("a") + b"h\0s", b"Kar\xff\xff\xff\x7f"]
)
def test_what_costs_nothing_is_read_whatever_its_size(body):
    assert scan(body).cost < 10


@pytest.mark.parametrize(
    ("limit", "body", "message"),
    [
        ("MAX_STEPS", b"N" * 101, "more than 100 steps"),
        ("MAX_NAMES", b"comegaconf\nA\n" * 101, "more than 100 names"),
        ("MAX_BYTES", text("a" * 101), "over 100 bytes"),
    ],
)
def test_the_limits_hold_for_all_pickles_of_a_file_together(limit, body, message, monkeypatch):
    monkeypatch.setattr(pickle_scan, limit, 100)
    with pytest.raises(TorchFileError, match=message):
        scan(body)


def test_nothing_is_imported_or_called(monkeypatch):
    monkeypatch.setattr(os, "system", pytest.fail)
    with pytest.raises(TorchFileError, match=r"the name os\.system"):
        scan(b"cos\nsystem\n" + text("touch x") + b"\x85R")
