import pytest
import torch
from torch.nn import functional as F

from labml_sd.acceleration.onednn import packed_matrix, packs, packs_half, product_with

ROUNDING = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 1e-2}


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 40, 700])
def test_a_packed_product_is_a_linear_layer(randn, assert_close, dtype, gelu, biased, rows):
    weight, bias = randn(7, 5, seed=1).to(dtype), randn(7, seed=2).to(dtype) if biased else None
    packed = packed_matrix(given := weight.clone(), 40)  # used for other numbers of rows too
    given.zero_()  # it is a copy
    x = randn(rows, 5).to(dtype)
    wanted = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    found = product_with(packed, x, bias, gelu=gelu)
    assert found.dtype == dtype and packed.is_mkldnn == packs(weight)
    assert_close(found.double(), F.gelu(wanted) if gelu else wanted, ROUNDING[dtype])


def test_only_number_types_that_onednn_knows_are_packed_and_only_on_a_cpu(monkeypatch):
    assert not packs(torch.zeros(1, dtype=torch.float64))
    assert not packs(torch.zeros(1, device="meta"))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not packs(torch.zeros(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision_is_told_apart(dtype):
    x = torch.zeros(1, dtype=dtype)
    assert packs_half(x) == (packs(x) and dtype != torch.float32)
