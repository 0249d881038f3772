import math

import pytest
import torch

from labml_sd.evaluation.draw_and_read import SamplingSettings
from labml_sd.evaluation.dtypes import in_dtype, precision, psnr


def test_the_psnr_is_that_of_the_mean_square_error():
    x = torch.zeros(2, 3, 4, 4)
    assert psnr(x, x + 5 / 127.5) == pytest.approx(34.1514, abs=1e-3)  # 20 log10(255 / 5)
    assert psnr(x, x) == pytest.approx(200.0)


@pytest.mark.holds("labml_sd.evaluation.dtypes.psnr")
def test_the_psnr_is_its_equation_on_any_two_pictures():
    x, y = torch.rand(
        2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    squares = [
        (a - b) ** 2 for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
    ]
    assert psnr(x, y) == pytest.approx(
        10 * math.log10(2**2 / (sum(squares) / len(squares))), rel=1e-6
    )


def test_a_half_precision_copy_leaves_the_model_unchanged(model):
    narrow = in_dtype(model, torch.bfloat16)
    assert narrow.dtype == torch.bfloat16 and model.dtype == torch.float32
    assert in_dtype(model, torch.float32) is model


def test_half_precision_draws_nearly_the_same_picture(measurement):
    rows = precision(measurement(settings=SamplingSettings(steps=2), n_prompts=62))["rows"]
    assert list(rows) == ["float16", "bfloat16"]
    for row in rows.values():
        assert 20.0 < row["worst"] <= row["psnr"]
    assert rows["float16"]["psnr"] > rows["bfloat16"]["psnr"]  # eleven bits against eight
