r"""Classifier-free guidance: how far to go from "any picture" to "this prompt's picture", and beyond.

Maps       a network (x, t, c) -> eps, two prompt embeddings [b n d], a scale  ->  (x, level) -> eps [b c h w]
Paper      Ho and Salimans 2022, arXiv:2207.12598, equation 6 (our scale is their w + 1); Kynkäänniemi et al.
           2024, arXiv:2404.07724 (interval); Lin et al. 2023, arXiv:2305.08891, section 3.4
           (rescale)
Tests      tests/sampler/test_guidance.py
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.protocol import Evaluate
from labml_sd.sampler.schedule import Level

EpsModel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x [b c h w], t [b], c [b n d]) -> eps [b c h w]: a LatentDiffusion, or any function like it."""

Asked = Callable[[Tensor, float], Tensor]
"""(x [b c h w], t) -> eps [rows c h w]: a network with its prompts built in, a row for each of them."""

Ask = Callable[[Tensor], Asked]
"""prompts [rows n d] -> Asked: builds the prompts of a run in."""


def guide(
    eps_uncond: Float[Tensor, "b c h w"], eps_cond: Float[Tensor, "b c h w"], scale: float | int
) -> Float[Tensor, "b c h w"]:
    r"""$\epsilon = \epsilon_u + s\,(\epsilon_c - \epsilon_u)$: 0 ignores the prompt, 1 is cond alone."""
    return eps_uncond + scale * (eps_cond - eps_uncond)


def rescale_std(
    eps: Float[Tensor, "b c h w"], eps_cond: Float[Tensor, "b c h w"], share: float | int
) -> Float[Tensor, "b c h w"]:
    r"""Bring the std of guided noise back to that of the prompt's own, image by image, Lin eq. 14 to 16.

    $$ \epsilon \leftarrow \phi\, \frac{\mathrm{std}(\epsilon_c)}{\mathrm{std}(\epsilon)}\, \epsilon
       + (1 - \phi)\, \epsilon $$

    A large scale makes it too great, and pictures too bright. share is phi: 0 changes nothing,
    1 corrects in full and makes pictures plain; the paper takes 0.7.
    """
    std, std_cond = (e.std(dim=(1, 2, 3), keepdim=True) for e in (eps, eps_cond))
    return share * (std_cond / std) * eps + (1 - share) * eps


@dataclass(frozen=True)
class Guidance:
    r"""How strongly a prompt guides, and where: `scale` at levels with low <= sigma <= high, 1 elsewhere.

    `sigma` is that of `Level`: 0.03 to 14.6 over SD's schedule. `rescale` is the share of
    `rescale_std`. The defaults guide everywhere and rescale nothing. GenerationError when a
    number is out of range.
    """

    scale: float | int
    low: float | int = 0.0
    high: float | int = math.inf
    rescale: float | int = 0.0

    def __post_init__(self) -> None:
        """Refuse a scale that is not finite, an interval the wrong way round, a share outside 0..1."""
        if not math.isfinite(self.scale):
            raise GenerationError(
                f"guidance_scale is {self.scale}; give a finite number, 1 for none"
            )
        if not 0 <= self.low <= self.high:
            raise GenerationError(
                f"guidance_interval is {self.low} to {self.high}; "
                "give two noise levels sigma, the lower first, neither below 0"
            )
        if not 0 <= self.rescale <= 1:
            raise GenerationError(
                f"guidance_rescale is {self.rescale}; give a number from 0 (none) to 1 (in full)"
            )

    def scale_at(self, level: Level) -> float | int:
        """The scale that holds at a level."""
        return self.scale if self.low <= level.sigma <= self.high else 1


def plainly(model: EpsModel) -> Ask:
    """Ask a network as it stands: a copy of x for each prompt, t as float32 [rows]."""

    def ask(prompts: Float[Tensor, "rows n d"]) -> Asked:
        def eps(x: Float[Tensor, "b c h w"], t: float) -> Float[Tensor, "rows c h w"]:
            rows = prompts.shape[0]
            times = torch.full((rows,), t, dtype=torch.float32, device=x.device)
            return model(torch.cat([x] * (rows // x.shape[0])), times, prompts)

        return eps

    return ask


def guided(
    model: EpsModel,
    cond: Float[Tensor, "b n d"],
    uncond: Float[Tensor, "_ n d"] | None,
    scale: float | int | Guidance,
) -> Evaluate:
    """Bind prompt and guidance to a network: `guided_by`, with the network asked plainly."""
    return guided_by(plainly(model), cond, uncond, scale)


def guided_by(
    ask: Ask,
    cond: Float[Tensor, "b n d"],
    uncond: Float[Tensor, "_ n d"] | None,
    scale: float | int | Guidance,
) -> Evaluate:
    """Bind prompt and guidance to a way of asking. A plain number as `scale` is the same at every level.

    `cond` has one row an image. `uncond` has one row an image, or one row for all; it may be
    None at scale 1. Where the scale is 1 cond runs alone, else both run as one batch, uncond
    first. The network gets x in cond's dtype, which is its own. eps comes back in x's dtype,
    and guidance is computed in it. GenerationError when the scale or the embeddings do not fit.
    """
    guidance = scale if isinstance(scale, Guidance) else Guidance(scale)
    _check_uncond(guidance, cond, uncond)
    asked: dict[
        bool, Asked
    ] = {}  # alone or both: bound when first needed, then for the whole run

    def run(
        x: Float[Tensor, "b c h w"], level: Level, both: bool
    ) -> Float[Tensor, "rows c h w"]:
        if both not in asked:
            asked[both] = ask(
                cond
                if uncond is None or not both
                else torch.cat([uncond.expand_as(cond), cond])
            )
        return asked[both](x.to(cond.dtype), level.t).to(x.dtype)

    def evaluate(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        _check_batch(x, cond)
        scale_here = guidance.scale_at(level)
        if scale_here == 1 or uncond is None:
            return run(x, level, both=False)
        eps_uncond, eps_cond = run(x, level, both=True).chunk(2)
        eps = guide(eps_uncond, eps_cond, scale_here)
        return rescale_std(eps, eps_cond, guidance.rescale) if guidance.rescale > 0 else eps

    return evaluate


def _check_uncond(guidance: Guidance, cond: Tensor, uncond: Tensor | None) -> None:
    if guidance.scale != 1 and uncond is None:
        raise GenerationError(
            f"guidance_scale is {guidance.scale} without a negative prompt's embedding; give one, or scale 1"
        )
    if uncond is not None and (
        uncond.shape[0] not in (1, cond.shape[0]) or uncond.shape[1:] != cond.shape[1:]
    ):
        raise GenerationError(
            f"the negative prompt's embedding is {list(uncond.shape)}; "
            f"give the prompt's shape {list(cond.shape)}, or one row for all images"
        )


def _check_batch(x: Tensor, cond: Tensor) -> None:
    if x.shape[0] != cond.shape[0]:
        raise GenerationError(
            f"{x.shape[0]} latents but {cond.shape[0]} prompt embeddings; give one row of cond for each image"
        )
