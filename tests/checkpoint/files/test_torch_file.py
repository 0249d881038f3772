import collections
import decimal
import enum
import functools
import mmap
import os
import pickle
import pickletools
import shlex
import subprocess
import sys
import types
import uuid
import warnings
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile import STORAGE, TENSOR, text, torch_stream, torch_zip, whole
from safetensors.torch import save_file
from torch.serialization import get_safe_globals, set_default_mmap_options

from labml_sd.checkpoint.files.safetensors_file import read_safetensors
from labml_sd.checkpoint.files.torch_file import read_torch
from labml_sd.config import tiny
from labml_sd.errors import CheckpointError

FORMATS = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "stream"])


def save(path, value, as_zip=True):
    torch.save(value, path, _use_new_zipfile_serialization=as_zip)
    return path


def rewrite(path, change):
    """Write the zip with the records that `change(name, data)` returns; None omits one."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            new = change(name, data)
            if new is not None:
                archive.writestr(name, new)
    return path


class Evil:
    def __init__(self, target) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


class Loss(enum.Enum):
    L1 = 1


@dataclass(slots=True)
class Settings:
    rate: float = 0.1


class Row(list):
    pass


class Values(dict):
    def __init__(self, **values) -> None:
        super().__init__(values)
        self.note = "an attribute beside the values"


@FORMATS
@pytest.mark.parametrize(
    "wrap",
    [lambda d: d, lambda d: {"state_dict": d}, lambda d: {"state_dict": {"state_dict": d}}],
)
def test_tensors_are_read_bit_for_bit(tmp_path, as_zip, wrap):
    base = torch.arange(24.0)
    tensors = OrderedDict(
        plain=base.reshape(2, 3, 4),
        turned=base.reshape(4, 6).t(),
        window=base[3:9],
        parameter=torch.nn.Parameter(torch.randn(3)),
        scalar=torch.tensor(7),
        empty=torch.empty(0, 3),
        half=torch.randn(3).half(),
        bfloat=torch.randn(3).bfloat16(),
        double=torch.randn(3).double(),
        flags=torch.tensor([True, False]),
        bytes=torch.tensor([1, 2], dtype=torch.uint8),
    )
    weights = read_torch(save(tmp_path / "x.ckpt", wrap(tensors), as_zip))
    assert weights.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert weights.tensors[name].shape == tuple(tensor.shape)
        assert weights.read(name).dtype == tensor.dtype
        assert torch.equal(weights.read(name), tensor)


def test_a_zip_is_mapped_and_writing_to_a_tensor_does_not_reach_the_file(tmp_path):
    path = save(tmp_path / "x.ckpt", {"a": torch.ones(3), "b": torch.ones(1)})
    with set_default_mmap_options(mmap.MAP_SHARED):  # what a program may have chosen
        weights = read_torch(path)
    assert weights.read("a").data_ptr() == weights.read("a").data_ptr()
    assert str(path) in Path("/proc/self/maps").read_text()
    weights.read("a").zero_()
    assert torch.equal(read_torch(path).read("a"), torch.ones(3))
    path.unlink()
    assert torch.equal(weights.read("b"), torch.ones(1))


@pytest.mark.parametrize("front", range(4))
def test_numbers_are_read_wherever_they_begin(tmp_path, front):
    """torch.save puts them on multiples of 64 bytes, other programs do not."""
    (tmp_path / "x").write_bytes(
        torch_zip(whole(b"}" + text("a") + TENSOR + b"s"), "a" * (9 + front))
    )
    tensor = read_torch(tmp_path / "x").read("a")
    assert tensor.tolist() == [1.0, 2.0] and tensor.data_ptr() % 4 == 0


@FORMATS
def test_a_command_in_a_checkpoint_is_named_and_not_run(tmp_path, as_zip):
    target = tmp_path / "touched"
    value = {"state_dict": {"a": torch.ones(2), "b": Evil(target)}, "c": Evil(target)}
    with pytest.raises(
        CheckpointError,
        match=rf"the name {os.system.__module__}\.system; nothing in it was run",
    ):
        read_torch(save(tmp_path / "x.ckpt", value, as_zip))
    assert not target.exists()


OFFICIAL = {  # all that sd-v1-4.ckpt names
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch.FloatStorage",
    "torch.IntStorage",
    "torch.LongStorage",
}


def names_in(pickled: bytes) -> set[str]:
    return {
        arg.replace(" ", ".")
        for op, arg, _ in pickletools.genops(pickled)
        if op.name == "GLOBAL"
    }


@FORMATS
def test_a_file_like_the_official_v1_loads_without_lightning(tmp_path, monkeypatch, as_zip):
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    callback = type("ModelCheckpoint", (), {"__module__": name})
    module.ModelCheckpoint = callback
    weights = OrderedDict(
        a=torch.randn(3, 4),
        n=torch.tensor([3], dtype=torch.int32),
        m=torch.tensor(4),
        turned=torch.randn(2, 3).t(),
    )
    with monkeypatch.context() as patch:
        for i in range(1, 4):
            patch.setitem(sys.modules, ".".join(name.split(".")[:i]), module)
        value = {
            "epoch": 0,
            "global_step": 470000,
            "pytorch-lightning_version": "1.4.2",
            "state_dict": weights,
            "callbacks": {
                callback: {"best_model_score": np.float64(0.5), "best_model_path": ""}
            },
            "optimizer_states": [
                {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
            ],
        }
        path = save(tmp_path / "x.ckpt", value, as_zip)
    if as_zip:
        with zipfile.ZipFile(path) as archive:
            named = names_in(archive.read("x/data.pkl"))
        assert {n.replace("numpy._core", "numpy.core") for n in named} == OFFICIAL
    assert name not in sys.modules
    found = read_torch(path)
    assert f"{name}.ModelCheckpoint" in found.refused
    assert "numpy.dtype" in found.refused
    assert name not in sys.modules
    save_file({n: t.contiguous() for n, t in weights.items()}, tmp_path / "twin.safetensors")
    twin = read_safetensors(tmp_path / "twin.safetensors")
    assert set(found.tensors) == set(twin.tensors)
    assert [n for n in twin.tensors if not torch.equal(found.read(n), twin.read(n))] == []
    assert all(found.read(n).dtype == twin.read(n).dtype for n in twin.tensors)


LEFT_BY_TRAINING = {
    "enum": Loss.L1,
    "partial": functools.partial(torch.nn.functional.gelu, approximate="tanh"),
    "decimal": decimal.Decimal("0.5"),
    "uuid": uuid.uuid4(),
    "range": range(3),
    "own class": Settings(),
    "own class of lists": Row([1, 2]),
    "own class of dictionaries": Values(a=1),
    "this package's": tiny(),
    "namespace": types.SimpleNamespace(a=[1]),
    "deque": collections.deque([1], maxlen=2),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter("aab"),
    "set": {1, 2},
    "numpy number": np.float64(0.5),
    "numpy array": np.arange(3),
    "bytes": b"abc",
    "complex": 1j,
    "dtype": torch.float16,
    "large number": 2**500,
    "shared": [shared := (0.9, 0.999), shared],
    "keys": {None: 1, 0.5: 2, ("a", 1): 3, Loss: 4},
}


@FORMATS
@pytest.mark.parametrize("kind", LEFT_BY_TRAINING)
def test_hyper_parameters_are_stood_in_for_and_the_weights_are_read(tmp_path, as_zip, kind):
    value = {"state_dict": {"a": torch.arange(3)}, "hyper_parameters": LEFT_BY_TRAINING[kind]}
    before = set(get_safe_globals())
    with warnings.catch_warnings(action="error"):
        weights = read_torch(save(tmp_path / "x.ckpt", value, as_zip))
    assert weights.read("a").tolist() == [0, 1, 2] and list(weights.tensors) == ["a"]
    assert set(get_safe_globals()) == before


def test_whatever_was_stood_in_for_is_named(tmp_path):
    value = {"a": torch.ones(1), "b": Values(c=Loss.L1), "c": uuid.uuid4()}
    refused = read_torch(save(tmp_path / "x.ckpt", value)).refused
    assert refused == (f"{__name__}.Loss", f"{__name__}.Values", "uuid.UUID")


def test_a_class_of_a_library_that_may_not_be_there_is_stood_in_for(tmp_path):
    call = b"caiohttp.client\nClientSession\n)R"
    (tmp_path / "x").write_bytes(torch_zip(whole(b"}" + text("a") + call + b"s")))
    assert read_torch(tmp_path / "x").refused == ("aiohttp.client.ClientSession",)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_numbers_of_eight_bits_are_read(tmp_path, dtype):
    tensor = torch.randn(3, 4).to(getattr(torch, dtype))
    weights = read_torch(save(tmp_path / "x.ckpt", {"a": tensor}))
    assert weights.tensors["a"].dtype == dtype
    assert torch.equal(weights.read("a").float(), tensor.float())


REFUSED = {
    "opcode LONG4": {"state_dict": {"a": torch.ones(2)}, "n": 2**3000},
    "tensors that are made by": {
        "state_dict": {"a": torch.ones(2), "b": torch.eye(2).to_sparse()}
    },
    "Linear where a dictionary of tensors was expected": torch.nn.Linear(1, 2),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_torch_does_not_read_is_named_and_the_advice_works(tmp_path, what):
    with pytest.raises(CheckpointError, match=rf"does not support .*{what}") as caught:
        read_torch(save(tmp_path / "x.ckpt", REFUSED[what]))
    assert str(caught.value).isprintable()
    command = shlex.split(str(caught.value).partition("where it was made: ")[2])
    assert command[-2:] == ["OLD", "NEW"]
    arguments = [sys.executable, *command[1:-2], tmp_path / "x.ckpt", tmp_path / "new.ckpt"]
    subprocess.run(arguments, check=True)
    assert "a" in read_torch(tmp_path / "new.ckpt").tensors or "Linear" in what


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_protocols_are_named(tmp_path, protocol):
    torch.save({"a": torch.ones(2)}, tmp_path / "x", pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match=rf"pickle protocol {protocol}; .* python -c"):
        read_torch(tmp_path / "x")


def test_storages_of_the_optimizer_do_not_disturb_the_older_format(tmp_path):
    value = {"optimizer": [{0: torch.zeros(5)}], "state_dict": {"a": torch.tensor([1.0, 2.0])}}
    weights = read_torch(save(tmp_path / "x.ckpt", value, as_zip=False))
    assert torch.equal(weights.read("a"), torch.tensor([1.0, 2.0]))


def of(record, new):
    """A change of one record's bytes."""
    return lambda name, data: new(data) if name.endswith(f"/{record}") else data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of("data/0", lambda data: None), "storage 0 has none of 16 bytes"),
        (of("data/0", lambda data: data[:-4]), "storage 0 has 12 of 16 bytes"),
        (of("data/0", lambda data: data + data), "storage 0 has 32 of 16 bytes"),
        (of("byteorder", lambda data: b"middle"), "torch: Unknown endianness"),
        (of("byteorder", lambda data: bytes(2**24 + 1)), "a zip record byteorder of over"),
        (of("data.pkl", lambda data: bytes(2**24 + 1)), r"a zip record data\.pkl of over"),
        (of("data.pkl", lambda data: None), r"no data\.pkl|a data\.pkl"),
        (of("version", lambda data: None), "torch: "),
        (of("version", lambda data: b"11"), "torch: .*version"),
        (of("data.pkl", lambda data: data + b"."), "behind the end of the pickle"),
        (of("data.pkl", lambda data: data[:-3]), "damaged"),
        (of("data.pkl", lambda data: pickle.dumps([1], 2)), "support list where"),
        (of("data.pkl", lambda data: pickle.dumps(1, 2)), "support int where"),
    ],
)
def test_a_damaged_zip_is_refused(tmp_path, change, message):
    path = rewrite(save(tmp_path / "x.ckpt", {"a": torch.ones(4)}), change)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_torch(path)
    assert "\n" not in str(caught.value)


def test_big_endian_numbers_are_turned(tmp_path):
    path = save(tmp_path / "x.ckpt", {"a": torch.ones(4)})
    rewrite(path, of("byteorder", lambda data: b"big"))
    rewrite(path, of("data/0", lambda data: np.frombuffer(data, "<f4").astype(">f4").tobytes()))
    assert read_torch(path).read("a").tolist() == [1.0] * 4


@FORMATS
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path, as_zip, share):
    path = save(tmp_path / "x.ckpt", {"a": torch.zeros(1000)}, as_zip)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"cut short|damaged"):
        read_torch(path)


def other_storage(data: bytes) -> bytes:
    """Change the name of the storage in the list before the numbers."""
    end = data.rindex(b"q\1a.")
    return data[: end - 1] + b"x" + data[end:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b"\x88", b"\x89", 1), "big-endian"),
        (lambda data: data.replace(b"q\1a.", b"q\1N."), r"torch: 'NoneType'"),
        (lambda data: data + b"\0", r"[\d,]+ of [\d,]+ bytes are there"),
        (lambda data: data.replace(b"q\1a.", b"Q\1a."), "no storage"),
        (other_storage, "list of storages does not fit"),
        (lambda data: pickle.dumps({"a": 1}, 2), "that torch.save did not write"),
    ],
)
def test_a_damaged_stream_is_refused(tmp_path, change, message):
    path = save(tmp_path / "x.ckpt", {"a": torch.ones(4)}, as_zip=False)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CheckpointError, match=message):
        read_torch(path)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (1, [2], [1]),  # past the end
        (0, [3], [1]),
        (0, [2, 2], [3, 1]),
        (0, [9_000_000_000], [0]),  # one number seen nine thousand million times
        (-1, [2], [1]),
        (0, [-2], [1]),
        (1, [2], [-1]),
        (0, [2], [1, 1]),
        (0, [2], [0.5]),
        (0, [True], [1]),
        (0, [10**23], [1]),
        (0, [1] * 65, [1] * 65),
        (2**62, [1], [1]),
    ],
)
@pytest.mark.parametrize("container", [torch_zip, torch_stream])
def test_a_window_that_leaves_its_numbers_is_refused(
    tmp_path, offset, shape, stride, container
):
    def row(numbers) -> bytes:
        return b"(" + b"".join(pickle.dumps(n, 2)[2:-1] for n in numbers) + b"t"

    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + pickle.dumps(offset, 2)[2:-1]
    crafted = b"}" + text("a") + tensor + row(shape) + row(stride) + b"\x89NtRs"
    (tmp_path / "x").write_bytes(container(whole(crafted)))
    with pytest.raises(
        CheckpointError, match=r"larger than its numbers|damaged \(torch: "
    ) as caught:
        read_torch(tmp_path / "x")
    assert len(str(caught.value)) < 500


def test_a_torchscript_program_is_refused(tmp_path):
    path = save(tmp_path / "x.pt", {"a": torch.ones(4)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_torch(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, r"two tensors of one name, a\.b"),
        ({"a\x1b[2J": torch.ones(1)}, r"cannot be shown, a\\x1b"),
        ({"a" * 501: torch.ones(1)}, "cannot be shown"),
    ],
)
def test_names_that_are_ambiguous_or_cannot_be_shown_are_refused(tmp_path, value, message):
    with pytest.raises(CheckpointError, match=message):
        read_torch(save(tmp_path / "x.ckpt", value))


def test_a_list_of_dictionaries_is_read_with_the_keys_0_1(tmp_path):
    value = [{"a": torch.ones(2)}, {"a": torch.zeros(3)}]
    found = read_torch(save(tmp_path / "x.pt", value))
    assert {name: info.shape for name, info in found.tensors.items()} == {
        "0.a": (2,),
        "1.a": (3,),
    }
    for other in ([], [{"a": torch.ones(2)}, 5]):
        with pytest.raises(CheckpointError, match="list where a dictionary"):
            read_torch(save(tmp_path / "y.pt", other))


def test_a_parameter_dictionary_is_read_as_a_dictionary(tmp_path):
    value = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 3))})
    found = read_torch(save(tmp_path / "x.pt", {"string_to_param": value}))
    assert torch.equal(found.read("string_to_param.*"), torch.ones(2, 3))
    assert found.refused == ()
