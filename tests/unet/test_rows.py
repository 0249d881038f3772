import pytest
import torch

from labml_sd.unet.rows import repeat_rows


def test_the_whole_batch_is_repeated_so_that_row_r_is_x_of_r_modulo_b():
    x = torch.tensor([[1.0], [2.0]])
    repeated = repeat_rows(x, 6)
    assert repeated.flatten().tolist() == [1, 2, 1, 2, 1, 2]
    assert all(torch.equal(repeated[r], x[r % 2]) for r in range(6))


def test_a_batch_that_has_the_rows_is_itself():
    x = torch.zeros(3, 1)
    assert repeat_rows(x, 3) is x


def test_the_memory_format_stays():
    x = torch.zeros(1, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert repeat_rows(x, 2).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_are_not_a_multiple_are_an_error(rows):
    with pytest.raises(ValueError, match=f"{rows} rows are not a multiple of the batch size 2"):
        repeat_rows(torch.zeros(2, 1), rows)
