import math
import time

import pytest
import torch

from labml_sd.figures import measured
from labml_sd.figures.cost import Cost

CPU = torch.device("cpu")


def test_the_cost_has_the_seconds_of_the_block_and_the_memory_of_the_process():
    with measured(CPU) as cost:
        assert cost.seconds == 0
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 5
    assert math.isnan(cost.gigabytes) or 0.01 < cost.gigabytes < 1000


def test_an_error_in_the_block_leaves_it_and_the_time_until_then_is_known():
    with pytest.raises(ZeroDivisionError), measured(CPU) as cost:
        1 / 0  # noqa: B018
    assert cost.seconds > 0


def test_the_line_says_both_or_only_the_time():
    assert str(Cost(1.26, 2.34)) == "1.3 s, 2.3 GB"
    assert str(Cost(12.0)) == "12.0 s"


@pytest.mark.gpu
def test_on_a_gpu_the_peak_is_that_of_the_block():
    device = torch.device("cuda")
    torch.empty(2**28, device=device)
    with measured(device) as cost:
        torch.empty(2**26, device=device)
    assert 0.26 < cost.gigabytes < 1
