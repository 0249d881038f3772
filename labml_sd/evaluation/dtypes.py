r"""Compares pictures in float16 and bfloat16 with the same pictures in float32.

Maps       model  ->  PSNR in dB for each dtype
Tests      tests/evaluation/test_dtypes.py
"""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.draw_and_read import SamplingSettings, generate
from labml_sd.evaluation.sweeps import mixed_scenes
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.training.tasks.autoencoder import psnr as psnr_of_mse

NARROW = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def psnr(x: Float[Tensor, "*b c h w"], y: Float[Tensor, "*b c h w"]) -> float:
    r"""Peak signal-to-noise ratio in dB of pictures in [-1, 1], from their pooled error.

    $$ 10 \log_{10} \frac{2^2}{\mathrm{mean}\,(x - y)^2} $$

    Equal pictures give 200 dB.
    """
    return float(psnr_of_mse((x - y).double().square().mean().clamp(min=4e-20)))


def in_dtype(model: LatentDiffusion, dtype: torch.dtype) -> LatentDiffusion:
    """The model itself if it has that dtype, else a copy."""
    return model if model.dtype == dtype else copy.deepcopy(model).to(dtype)


def dtypes(
    model: LatentDiffusion, settings: SamplingSettings, n: int, *, progress: bool = True
) -> dict[str, Any]:
    """PSNR of `n` pictures in each dtype, from the same noise: of all, and of the worst."""
    captions = [scene.caption(full=True) for scene in mixed_scenes(n)]
    total = n * (1 + len(NARROW))
    with tqdm(total=total, desc="precision", disable=not progress, dynamic_ncols=True) as bar:

        def pictures(dtype: torch.dtype) -> Float[Tensor, "n 3 h w"]:
            converted = in_dtype(model, dtype)
            return torch.cat(
                list(generate(converted, captions, settings, on_progress=bar.update))
            )

        exact = pictures(torch.float32)
        rows = {}
        for name, dtype in NARROW.items():
            narrow = pictures(dtype)
            worst = min(psnr(a, b) for a, b in zip(narrow, exact, strict=True))
            rows[name] = {"psnr": psnr(narrow, exact), "worst": worst}
    return {"n_prompts": n, "rows": rows}
