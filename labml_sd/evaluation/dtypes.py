r"""Compares pictures in float16 and bfloat16 with the same pictures in float32.

Maps       model  ->  PSNR in dB for each dtype
Tests      tests/evaluation/test_dtypes.py
"""

import copy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.evaluation.draw_and_read import Measurement, mixed_scenes
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.training.tasks.autoencoder import psnr as psnr_of_mse

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def psnr(x: Float[Tensor, "*b c h w"], y: Float[Tensor, "*b c h w"]) -> float:
    r"""Peak signal-to-noise ratio in dB of pictures in [-1, 1], from their pooled error.

    $$ 10 \log_{10} \frac{2^2}{\mathrm{mean}\,(x - y)^2} $$

    Equal pictures give 200 dB.
    """
    return float(psnr_of_mse((x - y).double().square().mean().clamp(min=4e-20)))


def in_dtype(model: LatentDiffusion, dtype: torch.dtype) -> LatentDiffusion:
    """The model itself if it has that dtype, else a copy."""
    return model if model.dtype == dtype else copy.deepcopy(model).to(dtype)


def precision(m: Measurement) -> dict[str, Any]:
    """PSNR of pictures in each narrow dtype, from the same noise: of all, and of the worst."""
    n = m.share(31)
    captions = [scene.caption(full=True) for scene in mixed_scenes(n)]
    m.bar.reset(total=n * len(DTYPES))
    pictures = {}
    for name, dtype in DTYPES.items():
        converted = replace(m, model=in_dtype(m.model, dtype))
        pictures[name] = torch.cat(list(converted.generate(captions, m.settings)))
    exact = pictures.pop("float32")
    rows = {
        name: {
            "psnr": psnr(narrow, exact),
            "worst": min(psnr(a, b) for a, b in zip(narrow, exact, strict=True)),
        }
        for name, narrow in pictures.items()
    }
    return {"n_prompts": n, "rows": rows}
