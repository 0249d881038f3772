"""A step may become cheaper. If it has to cost more: `python benchmarks/guard.py --write`."""

import guard
import ledger
import pytest
import torch
from torch.nn import functional as F

from labml_sd.checkpoint import load_model


@pytest.fixture(scope="module")
def costs():
    return guard.measured()


@pytest.mark.parametrize("model", ["tiny", "v1"])
@pytest.mark.parametrize("figure", ["flops", "kernels"])
def test_a_guided_step_costs_no_more_than_it_did(costs, model, figure):
    assert costs[model][figure] <= guard.committed()[model][figure]


def test_every_kernel_but_no_view_is_counted():
    x = torch.ones(2, 2)
    _, kernels = guard.cost(lambda: F.silu(x @ x).t())
    assert kernels.total() == 2


def test_on_a_cpu_as_many_operations_run_as_the_ledger_counts():
    model = load_model(device="cpu", dtype="float32")
    x, cond = torch.zeros(2, 4, 16, 16), torch.zeros(2, 77, model.config.unet.d_cond)
    flops, _ = guard.cost(lambda: model.unet(x, torch.zeros(2), cond))
    assert flops == ledger.unet(128, 2, model.config).total
