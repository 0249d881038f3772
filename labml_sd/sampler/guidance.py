r"""Classifier-free guidance: how far to go from "any picture" to "this prompt's picture", and beyond.

Room       sampler, called by the pipelines, which hand the result to loop.py
Maps       a network (x, t, c) -> eps, two prompt embeddings [b n d], a scale  ->  (x, level) -> eps [b c h w]
Paper      Ho and Salimans 2022, arXiv:2207.12598, equation 6 (our scale is their w + 1)
See        tests/sampler/test_guidance.py
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.protocol import Evaluate
from labml_sd.sampler.schedule import Level

EpsModel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x [b c h w], t [b], c [b n d]) -> eps [b c h w]: a LatentDiffusion, or any function like it."""


def guide(
    eps_uncond: Float[Tensor, "b c h w"], eps_cond: Float[Tensor, "b c h w"], scale: float | int
) -> Float[Tensor, "b c h w"]:
    r"""$\epsilon = \epsilon_u + s\,(\epsilon_c - \epsilon_u)$: 0 ignores the prompt, 1 is cond alone."""
    return eps_uncond + scale * (eps_cond - eps_uncond)


def guided(
    model: EpsModel, cond: Float[Tensor, "b n d"], uncond: Float[Tensor, "_ n d"] | None, scale: float | int
) -> Evaluate:
    """Bind prompt and guidance to a network.

    `cond` has one row an image. `uncond` has one row an image, or one row for all; it may be None at scale 1,
    where cond runs alone. Otherwise both run as one batch, uncond first.
    The network gets x in cond's dtype, which is its own, and t as float32 [b]. eps comes back in x's
    dtype, and guidance is computed in it. GenerationError when the scale or the embeddings do not fit.
    """
    if not math.isfinite(scale):
        raise GenerationError(f"guidance_scale is {scale}; give a finite number, 1 for none")
    if scale != 1 and uncond is None:
        raise GenerationError(
            f"guidance_scale is {scale} without a negative prompt's embedding; give one, or scale 1"
        )
    if uncond is not None and (
        uncond.shape[0] not in (1, cond.shape[0]) or uncond.shape[1:] != cond.shape[1:]
    ):
        raise GenerationError(
            f"the negative prompt's embedding is {list(uncond.shape)}; "
            f"give the prompt's shape {list(cond.shape)}, or one row for all images"
        )

    def evaluate(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        _check_batch(x, cond)
        if scale == 1 or uncond is None:
            return _run(model, x, level, cond)
        both = torch.cat([uncond.expand_as(cond), cond])
        eps_uncond, eps_cond = _run(model, torch.cat([x, x]), level, both).chunk(2)
        return guide(eps_uncond, eps_cond, scale)

    return evaluate


def _run(
    model: EpsModel, x: Float[Tensor, "b c h w"], level: Level, cond: Float[Tensor, "b n d"]
) -> Float[Tensor, "b c h w"]:
    t = torch.full((x.shape[0],), level.t, dtype=torch.float32, device=x.device)
    return model(x.to(cond.dtype), t, cond).to(x.dtype)


def _check_batch(x: Tensor, cond: Tensor) -> None:
    if x.shape[0] != cond.shape[0]:
        raise GenerationError(
            f"{x.shape[0]} latents but {cond.shape[0]} prompt embeddings; give one row of cond for each image"
        )
