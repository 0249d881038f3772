r"""The same pictures in float16 and in bfloat16: how far from float32?

Maps       model  ->  PSNR in dB for each narrow type
Tests      tests/evaluation/test_dtypes.py
"""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.evaluation.draw_and_read import Settings, Told, drawn
from labml_sd.evaluation.sweeps import mixed_scenes
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.training.tasks.autoencoder import psnr as decibels

NARROW = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def psnr(x: Float[Tensor, "*b c h w"], y: Float[Tensor, "*b c h w"]) -> float:
    r"""Peak signal-to-noise ratio in dB of pictures in [-1, 1], over all of them at once.

    $$ 10 \log_{10} \frac{2^2}{\mathrm{mean}\,(x - y)^2} $$

    Equal pictures give 200 dB, far above what eight bits can differ by.
    """
    return float(decibels((x - y).double().square().mean().clamp(min=4e-20)))


def in_dtype(model: LatentDiffusion, dtype: torch.dtype) -> LatentDiffusion:
    """The model itself when it has that type, else a copy."""
    return model if model.dtype == dtype else copy.deepcopy(model).to(dtype)


def dtypes(
    model: LatentDiffusion, settings: Settings, n: int, *, progress: bool = True
) -> dict[str, Any]:
    """Draw `n` prompts in each type from the same noise. `psnr` is of all pictures, `worst` of the worst."""
    captions = [scene.caption(full=True) for scene in mixed_scenes(n)]
    total = n * (1 + len(NARROW))
    with tqdm(total=total, desc="precision", disable=not progress, dynamic_ncols=True) as bar:
        exact = _pictures(model, torch.float32, captions, settings, bar.update)
        rows = {}
        for name, dtype in NARROW.items():
            narrow = _pictures(model, dtype, captions, settings, bar.update)
            worst = min(psnr(a, b) for a, b in zip(narrow, exact, strict=True))
            rows[name] = {"psnr": psnr(narrow, exact), "worst": worst}
    return {"n_prompts": n, "rows": rows}


def _pictures(
    model: LatentDiffusion,
    dtype: torch.dtype,
    captions: list[str],
    settings: Settings,
    told: Told,
) -> Float[Tensor, "n 3 h w"]:
    return torch.cat(list(drawn(in_dtype(model, dtype), captions, settings, told=told)))
