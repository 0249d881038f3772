r"""What a checkpoint's U-Net predicts, the noise or v: no file of SD v2 says it.

Maps       a path  ->  "eps", "v", or None;  a U-Net  ->  "eps" or "v";  either  ->  a sentence
Reference  Stability-AI configs/stable-diffusion/v2-inference-v.yaml (`parameterization`);
           AUTOMATIC1111's web UI, for the test by which it tells SD v2 models apart
Tests      tests/checkpoint/test_prediction.py
"""

from pathlib import Path
from typing import get_args

import torch
import yaml
from torch import Tensor

from labml_sd.config import ModelConfig, PredictionKind
from labml_sd.errors import CheckpointError, quoted
from labml_sd.unet import UNet

NOISIEST = 999  # the time of the test
MAX_YAML = 2**20  # bytes
NOT_A_CONFIG = (TypeError, AttributeError, RecursionError)  # of a YAML file with other things


def check_prediction(prediction: object) -> None:
    """Raise CheckpointError for anything but "eps", "v" or None."""
    kinds = get_args(PredictionKind)
    if prediction is not None and prediction not in kinds:
        raise CheckpointError(
            f"prediction is {quoted(prediction)}; give {' or '.join(kinds)}, or leave it out"
        )


def from_yaml(path: Path) -> PredictionKind | None:
    """What the file of the same name that ends in .yaml says; None without such a file.

    Raises CheckpointError if it is not a configuration of Stable Diffusion.
    """
    if path.is_dir() or not path.with_suffix(".yaml").is_file():
        return None
    beside = path.with_suffix(".yaml")
    try:
        if beside.stat().st_size > MAX_YAML:
            raise ValueError("longer than a megabyte")
        named = yaml.safe_load(beside.read_text(encoding="utf-8"))["model"]["params"]
        kind = named.get("parameterization", "eps")
    except (OSError, ValueError, yaml.YAMLError, LookupError, *NOT_A_CONFIG) as error:
        raise CheckpointError(
            f"{beside}: not a configuration of Stable Diffusion ({type(error).__name__}); "
            "remove it, or give prediction=..."
        ) from error
    if kind not in get_args(PredictionKind):
        raise CheckpointError(
            f"{beside}: parameterization is {quoted(kind)}; give prediction=..."
        )
    found: PredictionKind = kind
    return found


def described(config: ModelConfig, kind: PredictionKind | None) -> str:
    """What a model predicts, and at which size, for the report on a file; None: not stated."""
    if kind is None:
        return (
            "predicts the noise or v: no file of SD v2 says which, loading it tests the U-Net"
        )
    name = {"eps": "the noise (eps)", "v": "v"}[kind]
    end = "; the schedule ends in pure noise" if config.schedule.zero_snr else ""
    return f"predicts {name}, at {config.image_size}x{config.image_size} pixels{end}"


@torch.no_grad()
def probe(unet: UNet) -> PredictionKind:
    r"""What the U-Net of SD v2 predicts, by its answer to constant inputs at the highest level.

    There x is all noise: a network that predicts the noise gives back x. One that predicts v,
    about $-z$ there, gives something else, which is lower by more than 1 on average.
    """
    weight = next(unet.parameters())

    def half(*shape: int) -> Tensor:
        return torch.full(shape, 0.5, device=weight.device, dtype=weight.dtype)

    x, cond = half(1, unet.config.in_channels, 8, 8), half(1, 2, unet.config.d_cond)
    t = torch.tensor([NOISIEST], device=weight.device)
    return "v" if (unet(x, t, cond) - x).float().mean() < -1 else "eps"
