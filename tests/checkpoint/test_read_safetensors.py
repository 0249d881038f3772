import json

import pytest
import torch
from safetensors.torch import save_file

from labml_sd.checkpoint.read_safetensors import read_safetensors
from labml_sd.checkpoint.weights import TensorInfo
from labml_sd.errors import CheckpointError


def write(path, header: bytes, data: bytes = b"", n_header: int | None = None):
    path.write_bytes((len(header) if n_header is None else n_header).to_bytes(8, "little") + header + data)
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


@pytest.mark.parametrize(
    ("header", "data", "n_header", "message"),
    [
        (b"{}", b"", 1000, "ends inside its header"),
        (b"{}", b"", 2**62, "not a safetensors file"),
        (b"{]", b"", None, "header is damaged"),
        (b"[1]", b"", None, "header is damaged"),
        (b'{"a": 1}', b"", None, "header is damaged"),
        (b"\xff\xfe", b"", None, "header is damaged"),
        (b"[" * 100_000, b"", None, "header is damaged"),
        (json.dumps({"a": entry(0, 4)}).encode(), b"12345", None, "not a sound safetensors"),
        (json.dumps({"a": entry(0, 4), "b": entry(0, 4)}).encode(), b"1234", None, "not a sound safetensors"),
        (json.dumps({"a": entry(0, 4, (7,))}).encode(), b"1234", None, "not a sound safetensors"),
        (json.dumps({"a": entry(4, 8)}).encode(), b"12345678", None, "not a sound safetensors"),
    ],
)
def test_a_damaged_or_crafted_header_is_refused(tmp_path, header, data, n_header, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read_safetensors(write(tmp_path / "x", header, data, n_header))
    assert "\n" not in str(caught.value)
