import pytest
import torch

from labml_sd.checkpoint.files.mapped import map_file, tensor_at

DTYPES = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.int64,
    torch.uint8,
    torch.bool,
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(i % 2 for i in range(4096)))
    return path


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", [0, 64, 3])
def test_numbers_are_those_of_the_file_wherever_they_start(file, dtype, start):
    n_bytes = 24 * dtype.itemsize
    wanted = torch.frombuffer(
        bytearray(file.read_bytes()[start : start + n_bytes]), dtype=dtype
    )
    assert torch.equal(tensor_at(map_file(file), start, 24, dtype), wanted)


def test_nothing_is_copied_where_numbers_lie_on_multiples_of_their_size(file):
    data = map_file(file)
    first, second = tensor_at(data, 0, 8, torch.float32), tensor_at(data, 32, 8, torch.float32)
    assert second.data_ptr() - first.data_ptr() == 32


def test_writing_does_not_reach_the_file(file):
    before = file.read_bytes()
    tensor_at(map_file(file), 0, 8, torch.uint8).fill_(7)
    assert file.read_bytes() == before


def test_the_file_may_be_deleted(file):
    tensor = tensor_at(map_file(file), 0, 8, torch.uint8)
    file.unlink()
    assert tensor.tolist() == [0, 1] * 4


def test_no_numbers_are_an_empty_tensor(file):
    assert tensor_at(map_file(file), 0, 0, torch.float32).shape == (0,)
