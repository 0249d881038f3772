import io
import os
import pickle
import pickletools
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from labml_sd.checkpoint.files.read_safetensors import read_safetensors
from labml_sd.checkpoint.files.read_torch import read_torch
from labml_sd.errors import CheckpointError

FORMATS = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "stream"])


def save(path, value, as_zip=True):
    torch.save(value, path, _use_new_zipfile_serialization=as_zip)
    return path


def rewrite(path, change, compression=zipfile.ZIP_STORED):
    """Write the zip anew with each member's bytes as `change(name, data)` gives them; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            new = change(name, data)
            if new is not None:
                archive.writestr(name, new)
    return path


class Evil:
    def __init__(self, target) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


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


def test_writing_to_a_tensor_does_not_reach_the_file(tmp_path):
    weights = read_torch(save(tmp_path / "x.ckpt", {"a": torch.ones(3)}))
    weights.read("a").zero_()
    assert torch.equal(read_torch(tmp_path / "x.ckpt").read("a"), torch.ones(3))


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
    assert {"numpy.dtype", "_codecs.encode"} <= set(found.refused)
    assert name not in sys.modules
    save_file({n: t.contiguous() for n, t in weights.items()}, tmp_path / "twin.safetensors")
    twin = read_safetensors(tmp_path / "twin.safetensors")
    assert set(found.tensors) == set(twin.tensors)
    assert [n for n in twin.tensors if not torch.equal(found.read(n), twin.read(n))] == []
    assert all(found.read(n).dtype == twin.read(n).dtype for n in twin.tensors)


def test_storages_of_the_optimizer_do_not_disturb_the_older_format(tmp_path):
    value = {"optimizer": [{0: torch.zeros(5)}], "state_dict": {"a": torch.tensor([1.0, 2.0])}}
    weights = read_torch(save(tmp_path / "x.ckpt", value, as_zip=False))
    assert torch.equal(weights.read("a"), torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda name, data: None if name.endswith("/data/0") else data,
            "numbers of a are missing",
        ),
        (
            lambda name, data: data[:-4] if name.endswith("/data/0") else data,
            "a has 3 of 4 numbers",
        ),
        (lambda name, data: b"big" if name.endswith("/byteorder") else data, "big-endian"),
        (lambda name, data: None if name.endswith("/data.pkl") else data, "no data.pkl"),
        (lambda name, data: None if name.endswith("/version") else data, "version number"),
        (lambda name, data: b"11" if name.endswith("/version") else data, "version number"),
        (
            lambda name, data: data + b"." if name.endswith("/data.pkl") else data,
            "behind the end of the pickle",
        ),
        (
            lambda name, data: pickle.dumps([1], 2) if name.endswith("/data.pkl") else data,
            "type list where",
        ),
        (lambda name, data: data[:-3] if name.endswith("/data.pkl") else data, "damaged"),
    ],
)
def test_a_damaged_zip_is_refused(tmp_path, change, message):
    path = rewrite(save(tmp_path / "x.ckpt", {"a": torch.ones(4)}), change)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_torch(path)
    assert "\n" not in str(caught.value)


def test_a_compressed_member_is_refused_before_it_can_unfold(tmp_path):
    path = rewrite(
        save(tmp_path / "x.ckpt", {"a": torch.zeros(9)}),
        lambda name, data: data,
        zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(CheckpointError, match="compressed zip member"):
        read_torch(path)


def test_an_encrypted_member_is_refused(tmp_path):
    path = save(tmp_path / "x.ckpt", {"a": torch.zeros(9)})
    data = bytearray(path.read_bytes())
    start = 0
    while (start := data.find(b"PK\1\2", start)) >= 0:
        data[start + 8] |= 1
        start += 4
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="encrypted zip member"):
        read_torch(path)


@FORMATS
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_cut_file_is_refused(tmp_path, as_zip, share):
    path = save(tmp_path / "x.ckpt", {"a": torch.zeros(1000)}, as_zip)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"cut short|damaged"):
        read_torch(path)


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (1, [4], [1]),  # past the end
        (0, [5], [1]),
        (0, [2, 2], [3, 1]),
        (0, [9_000_000_000], [0]),  # one number seen nine thousand million times
        (-1, [2], [1]),
        (0, [-2], [1]),
        (0, [2], [1, 1]),
        (0, [2], [0.5]),
        (0, [True], [1]),
        (0, [10**23], [1]),
        (0, [1] * 65, [1] * 65),
    ],
)
def test_a_window_that_leaves_its_numbers_is_refused(tmp_path, offset, shape, stride):
    def row(numbers) -> bytes:
        return b"(" + b"".join(pickle.dumps(n, 2)[2:-1] for n in numbers) + b"t"

    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x04tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + pickle.dumps(offset, 2)[2:-1]
    crafted = b"\x80\x02}U\x01a" + tensor + row(shape) + row(stride) + b"\x89NtRs."
    path = rewrite(
        save(tmp_path / "x.ckpt", {"a": torch.ones(4)}),
        lambda name, data: crafted if name.endswith("/data.pkl") else data,
    )
    with pytest.raises(CheckpointError, match=r"a tensor whose shape|past the end"):
        read_torch(path)


def test_a_pickle_that_torch_did_not_write_is_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(CheckpointError, match=r"not one that torch.save wrote"):
        read_torch(tmp_path / "x.pkl")


def test_a_torchscript_program_is_refused(tmp_path):
    path = save(tmp_path / "x.pt", {"a": torch.ones(4)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_torch(path)


def test_torch_reads_what_this_reader_reads(tmp_path):
    value = {"a": torch.randn(3, 4), "b": torch.randn(2).half()}
    buffer = io.BytesIO()
    torch.save(value, buffer)
    (tmp_path / "x").write_bytes(buffer.getvalue())
    weights = read_torch(tmp_path / "x")
    loaded = torch.load(tmp_path / "x", weights_only=True)
    assert all(torch.equal(weights.read(name), loaded[name]) for name in value)
