import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from labml_sd.checkpoint.read_torch import read_torch
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
    "wrap", [lambda d: d, lambda d: {"state_dict": d}, lambda d: {"state_dict": {"state_dict": d}}]
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


def test_a_read_tensor_is_a_copy_of_its_own(tmp_path):
    weights = read_torch(save(tmp_path / "x.ckpt", {"a": torch.ones(3)}))
    weights.read("a").zero_()
    assert torch.equal(weights.read("a"), torch.ones(3))


@FORMATS
def test_a_command_in_a_checkpoint_is_named_and_not_run(tmp_path, as_zip):
    target = tmp_path / "touched"
    value = {"state_dict": {"a": torch.ones(2), "b": Evil(target)}, "c": Evil(target)}
    weights = read_torch(save(tmp_path / "x.ckpt", value, as_zip))
    assert list(weights.tensors) == ["a"]
    assert weights.refused == (f"{os.system.__module__}.system",)
    assert not target.exists()


def test_a_file_like_the_official_v1_loads_without_lightning(tmp_path, monkeypatch):
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    callback = type("ModelCheckpoint", (), {"__module__": name})
    module.ModelCheckpoint = callback
    with monkeypatch.context() as patch:
        for i in range(1, 4):
            patch.setitem(sys.modules, ".".join(name.split(".")[:i]), module)
        value = {
            "epoch": 0,
            "global_step": 470000,
            "pytorch-lightning_version": "1.4.2",
            "state_dict": OrderedDict(
                a=torch.ones(2), n=torch.tensor([3], dtype=torch.int32), m=torch.tensor(4)
            ),
            "callbacks": {
                callback: {"best_model_score": np.float64(0.5), "best_model_path": "", "dir": callback()}
            },
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}],
        }
        save(tmp_path / "x.ckpt", value)
    assert name not in sys.modules
    weights = read_torch(tmp_path / "x.ckpt")
    assert list(weights.tensors) == ["a", "n", "m"]
    assert f"{name}.ModelCheckpoint" in weights.refused
    assert {"numpy.dtype", "_codecs.encode"} <= set(weights.refused)
    assert name not in sys.modules


def test_storages_of_the_optimizer_do_not_disturb_the_older_format(tmp_path):
    value = {"optimizer": [{0: torch.zeros(5)}], "state_dict": {"a": torch.tensor([1.0, 2.0])}}
    weights = read_torch(save(tmp_path / "x.ckpt", value, as_zip=False))
    assert torch.equal(weights.read("a"), torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, data: None if name.endswith("/data/0") else data, "numbers of a are missing"),
        (lambda name, data: data[:-4] if name.endswith("/data/0") else data, "a has 3 of 4 numbers"),
        (lambda name, data: b"big" if name.endswith("/byteorder") else data, "big-endian"),
        (lambda name, data: None if name.endswith("/data.pkl") else data, "no data.pkl"),
        (lambda name, data: pickle.dumps([1], 2) if name.endswith("/data.pkl") else data, "a list where"),
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
        save(tmp_path / "x.ckpt", {"a": torch.zeros(9)}), lambda name, data: data, zipfile.ZIP_DEFLATED
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
        (1, "(I4\nt", "(I1\nt"),  # past the end
        (0, "(I5\nt", "(I1\nt"),
        (0, "(I2\nI2\nt", "(I3\nI1\nt"),
        (0, "(L9000000000L\nt", "(I0\nt"),  # one number seen nine thousand million times
        (-1, "(I2\nt", "(I1\nt"),
        (0, "(I-2\nt", "(I1\nt"),
        (0, "(I2\nt", "(I1\nI1\nt"),
        (0, "(I2\nt", "(F0.5\nt"),
        (0, "(L99999999999999999999999L\nt", "(I1\nt"),
    ],
)
def test_a_window_that_leaves_its_numbers_is_refused(tmp_path, offset, shape, stride):
    storage = "(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ"
    tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n{shape}{stride}I00\nNtR"
    crafted = f"(dS'a'\n{tensor}s.".encode()
    path = rewrite(
        save(tmp_path / "x.ckpt", {"a": torch.ones(4)}),
        lambda name, data: crafted if name.endswith("/data.pkl") else data,
    )
    with pytest.raises(CheckpointError, match="pickle holds a thing no checkpoint needs"):
        read_torch(path)


def test_a_pickle_that_torch_did_not_write_is_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": 1}))
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
