import pytest

from labml_sd.checkpoint.files.weights import TensorInfo, join_shards
from labml_sd.errors import CheckpointError


def test_a_scalar_is_one_parameter_and_a_tensor_the_product_of_its_sides():
    assert [
        TensorInfo(shape, "float32").n_parameters for shape in ((), (3,), (2, 3, 4), (0, 5))
    ] == [
        1,
        3,
        24,
        0,
    ]


def test_shards_are_seen_as_one_file(listed, tmp_path):
    joined = join_shards(tmp_path, [listed(a=(1,)), listed(b=(2,), c=(3,))])
    assert {name: info.shape for name, info in joined.tensors.items()} == {
        "a": (1,),
        "b": (2,),
        "c": (3,),
    }


def test_a_tensor_in_two_shards_is_refused(listed, tmp_path):
    with pytest.raises(CheckpointError, match="two shards both contain a"):
        join_shards(tmp_path, [listed(a=(1,)), listed(a=(1,))])
