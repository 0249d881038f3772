import json

import pytest
import torch
from safetensors.torch import save_file

from labml_sd.checkpoint.files.safetensors_file import read_safetensors
from labml_sd.checkpoint.files.weights import TensorInfo
from labml_sd.errors import CheckpointError


def write(path, header: bytes, data: bytes = b"", n_header: int | None = None):
    path.write_bytes(
        (len(header) if n_header is None else n_header).to_bytes(8, "little") + header + data
    )
    return path


def entry(start: int, end: int, shape=(1,)) -> dict[str, object]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


def test_names_shapes_dtypes_metadata_and_numbers_are_read(tmp_path):
    tensor = torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16)
    save_file({"a": tensor}, tmp_path / "x.safetensors", metadata={"key": "value"})
    weights = read_safetensors(tmp_path / "x.safetensors")
    assert dict(weights.tensors) == {"a": TensorInfo((1, 2), "bfloat16")}
    assert weights.metadata == {"key": "value"}
    assert torch.equal(weights.read("a"), tensor)


def test_a_file_that_ends_early_says_how_many_bytes_are_there(tmp_path):
    path = write(tmp_path / "x", json.dumps({"a": entry(0, 4)}).encode(), b"12")
    with pytest.raises(CheckpointError, match="cut short, 71 of 73 bytes"):
        read_safetensors(path)


TWIN = json.dumps(entry(0, 4)).encode()


@pytest.mark.parametrize(
    ("header", "data", "n_header", "message"),
    [
        (b"{}", b"", 1000, "ends inside its header"),
        (b"{}", b"", 2**62, "no safetensors file"),
        (b"{]", b"", None, "header is damaged"),
        (b"[1]", b"", None, "header is damaged"),
        (b'{"a": 1}', b"", None, "header is damaged"),
        (b"\xff\xfe", b"", None, "header is damaged"),
        (b"[" * 100_000, b"", None, "header is damaged"),
        (b'{"a":' * 300_003, b"", None, "over 100,000 tensors"),
        (b'{"a": {"data_offsets": [0, 1e999]}}', b"", None, "header is damaged"),
        (b'{"a": {"data_offsets": [0, ' + b"9" * 4299 + b"]}}", b"", None, "header is damaged"),
        (b'{"a": {"data_offsets": [0, ' + b"9" * 5000 + b"]}}", b"", None, "header is damaged"),
        (b'{"a": %b, "a": %b}' % (TWIN, TWIN), b"1234", None, "there twice"),
        (b'{"a\\n\\u001b": %b}' % TWIN, b"1234", None, r"a\\n\\x1b"),
        (
            json.dumps({"a": entry(0, 4, (1,) * 65)}).encode(),
            b"1234",
            None,
            "more than 64 dimensions",
        ),
        (json.dumps({"a" * 501: entry(0, 4)}).encode(), b"1234", None, "cannot be shown"),
        (json.dumps({"__metadata__": {"a": 1}}).encode(), b"", None, "not a valid safetensors"),
        (
            json.dumps({"a": entry(0, 0, (2**32, 2**32, 4))}).encode(),
            b"",
            None,
            "not a valid safetensors",
        ),
        (json.dumps({"a": entry(0, 4)}).encode(), b"12345", None, "not a valid safetensors"),
        (
            json.dumps({"a": entry(0, 4), "b": entry(0, 4)}).encode(),
            b"1234",
            None,
            "not a valid safetensors",
        ),
        (
            json.dumps({"a": entry(0, 4, (7,))}).encode(),
            b"1234",
            None,
            "not a valid safetensors",
        ),
        (json.dumps({"a": entry(4, 8)}).encode(), b"12345678", None, "not a valid safetensors"),
    ],
)
def test_a_damaged_or_crafted_header_is_refused(tmp_path, header, data, n_header, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read_safetensors(write(tmp_path / "x", header, data, n_header))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_spaces", range(8))
def test_numbers_are_read_wherever_they_begin_and_writing_does_not_reach_the_file(
    tmp_path, n_spaces
):
    header = json.dumps({"a": entry(0, 8, (2,))}).encode() + b" " * n_spaces
    path = write(tmp_path / "x", header, torch.tensor([1.0, 2.0]).numpy().tobytes())
    before = path.read_bytes()
    tensor = read_safetensors(path).read("a")
    assert tensor.tolist() == [1.0, 2.0] and tensor.data_ptr() % 4 == 0
    tensor.zero_()
    assert path.read_bytes() == before


def test_a_file_is_mapped_and_may_be_deleted(tmp_path):
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "x")
    weights = read_safetensors(tmp_path / "x")
    assert weights.read("a").data_ptr() == weights.read("a").data_ptr()
    (tmp_path / "x").unlink()
    assert weights.read("b").tolist() == [1.0, 1.0]


def test_numbers_of_an_unknown_kind_are_listed_and_not_read(tmp_path):
    header = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    weights = read_safetensors(write(tmp_path / "x", header, b"1"))
    assert weights.tensors["a"] == TensorInfo((2,), "f4")
    with pytest.raises(CheckpointError, match="a contains f4 numbers"):
        weights.read("a")
