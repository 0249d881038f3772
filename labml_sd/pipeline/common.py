r"""The steps that all three tasks share, each a few lines.

Maps       prompts -> evaluate; image -> z; z -> PIL images with their parameters
Tests      tests/pipeline/
"""

import copy
import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from labml_sd import acceleration as fast
from labml_sd.autoencoder import Autoencoder
from labml_sd.checkpoint import model_hash
from labml_sd.errors import GenerationError
from labml_sd.images.tensors import (
    crop,
    latent_mask,
    mask_to_tensor,
    pad_to_multiple,
    to_pil,
    to_tensor,
)
from labml_sd.latent_diffusion import LatentDiffusion
from labml_sd.pipeline.memory import Parts, retried
from labml_sd.pipeline.parameters import attach, parameters_of
from labml_sd.pipeline.request import Request
from labml_sd.sampler import Level, NoiseSource
from labml_sd.sampler.protocol import Evaluate

_hashes: WeakKeyDictionary[LatentDiffusion, str | None] = WeakKeyDictionary()


def weights_hash(model: LatentDiffusion) -> str | None:
    """Ten hex digits that tell the model's file from others; None for a model that came from no file.

    Asked once for each model, at its first picture.
    """
    if model not in _hashes:
        from_file = model.source != "" and Path(model.source).exists()
        _hashes[model] = model_hash(model.source) if from_file else None
    return _hashes[model]


def state_dtype(model: LatentDiffusion) -> torch.dtype:
    """Type of everything between the networks: float32 or better, whatever the networks use."""
    return torch.promote_types(model.dtype, torch.float32)


def prompted(model: LatentDiffusion, request: Request) -> Evaluate:
    """The U-Net with the prompts and the guidance of `request` built in: (x, level) -> eps.

    All pictures run as one batch, or in parts where they do not fit in memory.
    """
    cond = _embed(model, request.prompts)
    uncond = None if request.guidance.scale == 1 else _embed(model, request.negative_prompts)
    parts = Parts(len(cond))
    bound: dict[tuple[int, int], Evaluate] = {}

    def evaluate(x: Float[Tensor, "b z h w"], level: Level) -> Float[Tensor, "b z h w"]:
        def call(some: slice) -> Float[Tensor, "part z h w"]:
            key = (some.start, some.stop)
            if key not in bound:
                bound[key] = fast.evaluate_with(
                    model,
                    cond[some],
                    None if uncond is None else uncond[some],
                    request.guidance,
                )
            return bound[key](x[some], level)

        return parts.run(call)

    return evaluate


def _embed(model: LatentDiffusion, prompts: Sequence[str]) -> Float[Tensor, "b n d"]:
    """Encode each distinct prompt once. Raises `GenerationError` for NaN."""
    distinct = list(dict.fromkeys(prompts))
    c = retried(lambda: fast.encode_prompt(model, distinct))
    if not torch.isfinite(c).all():
        raise GenerationError(
            "the text encoder gave NaN or Inf: its weights are damaged, or too large for float16; "
            "run the model in float32 or bfloat16"
        )
    return c[[distinct.index(p) for p in prompts]]


def noise_source(model: LatentDiffusion, request: Request, h: int, w: int) -> NoiseSource:
    """One generator per picture, for latents of `h` x `w` cells."""
    shape = (model.config.autoencoder.z_channels, h, w)
    return NoiseSource(
        request.seeds,
        shape,
        model.device,
        state_dtype(model),
        noise=request.noise,
        variation=request.variation,
    )


def encode(
    model: LatentDiffusion, image: Image.Image, n_images: int
) -> Float[Tensor, "b z h w"]:
    """Pad by reflection to what the networks need, and take the mean of the posterior, once per picture.

    Raises `GenerationError` for NaN.
    """
    pixels = pad_to_multiple(to_tensor(image), model.config.size_multiple)

    def encoded(autoencoder: Autoencoder) -> Float[Tensor, "1 z h w"]:
        return retried(lambda: fast.encode(autoencoder, pixels, fast=model.fast))

    z = in_range(model, "encode", encoded)
    if not torch.isfinite(z).all():
        raise GenerationError(
            'stage "encode" gave NaN or infinite latents: the autoencoder\'s weights are damaged'
        )
    return z.to(state_dtype(model)).expand(n_images, -1, -1, -1)


def cells_to_paint(model: LatentDiffusion, mask: Image.Image) -> Float[Tensor, "1 1 h w"]:
    """1 for every latent cell that holds a pixel to repaint. The mask is padded as its picture is."""
    pixels = pad_to_multiple(mask_to_tensor(mask), model.config.size_multiple)
    cells = latent_mask(pixels, model.config.autoencoder.downsampling_factor)
    return cells.to(model.device, state_dtype(model))


def decode(
    model: LatentDiffusion, z: Float[Tensor, "b z h w"], height: int, width: int
) -> list[Image.Image]:
    """Decode and cut the padding off. Raises `GenerationError` for NaN."""

    def decoded(autoencoder: Autoencoder) -> Float[Tensor, "b 3 H W"]:
        return Parts(len(z)).run(
            lambda some: fast.decode(autoencoder, z[some], fast=model.fast)
        )

    return to_pil(crop(in_range(model, "decode", decoded), height, width), stage="decode")


def in_range(
    model: LatentDiffusion, stage: str, run: Callable[[Autoencoder], Float[Tensor, "b c h w"]]
) -> Float[Tensor, "b c h w"]:
    """Run the autoencoder; where its numbers pass the range of float16, once more in float32, with a warning.

    The activations of SD's decoder come close to 65504, the largest float16; some pictures go
    beyond, and would come out black.
    """
    answer = run(model.autoencoder)
    if answer.dtype != torch.float16 or torch.isfinite(answer).all():
        return answer
    warnings.warn(f"{stage} left the range of float16: done again in float32", stacklevel=2)
    return run(copy.deepcopy(model.autoencoder).float())


def sign(
    model: LatentDiffusion,
    request: Request,
    images: Sequence[Image.Image],
    task: str,
    init_image: Image.Image | None = None,
    mask: Image.Image | None = None,
) -> list[Image.Image]:
    """Attach to each picture the parameters that draw it again."""
    found = parameters_of(
        request,
        task=task,
        size=images[0].size,
        model=model.config.name,
        model_hash=weights_hash(model),
        dtype=str(model.dtype).removeprefix("torch."),
        init_image_sha256=None if init_image is None else _sha256(init_image),
        mask_sha256=None if mask is None else _sha256(mask),
    )
    return [attach(image, each) for image, each in zip(images, found, strict=True)]


def _sha256(image: Image.Image) -> str:
    header = f"{image.mode} {image.width}x{image.height} "
    return hashlib.sha256(header.encode() + image.tobytes()).hexdigest()
