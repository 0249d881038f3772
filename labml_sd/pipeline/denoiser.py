r"""The network with everything of a run bound to it: what the sampling loop calls.

Maps       x [b c h w], moment  ->  Prediction(eps, x0), each [b c h w]
Paper      Ho and Salimans 2022, arXiv:2207.12598, equation 6 (guidance)
Tests      tests/pipeline/test_denoiser.py
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from labml_sd.config import PredictionKind
from labml_sd.errors import GenerationError
from labml_sd.pipeline.conditioning import Conditioning, ScheduledConditioning
from labml_sd.pipeline.control import sum_residuals
from labml_sd.pipeline.memory import BatchSplitter
from labml_sd.sampler import Guidance, Level, Moment, Prediction, from_eps, from_v

Network = Callable[..., Tensor]
"""(x [b c h w], t [1], cond [rows n d]) -> [rows c h w]: a LatentDiffusion, a UNet, a function.

`rows` is a multiple of b, and row r of the answer belongs to x[r % b]. With controls there is a
fourth argument, `UNetResiduals`.
"""


class Denoiser:
    """A network with its conditioning and guidance: (x, moment) -> eps and x0.

    `Denoiser(model, Conditioning(cond, uncond), 7.5)` is what `sample` calls at every step. It
    is written once for all pipelines, and any function of (x, t, cond) can be the network.
    """

    def __init__(
        self,
        network: Network,
        conditioning: Conditioning | ScheduledConditioning,
        guidance: Guidance | float | int = 1,
        *,
        prediction: PredictionKind = "eps",
    ) -> None:
        """A number as `guidance` is the scale at every level; unless it is 1, give uncond."""
        self.network = network
        self.conditioning = conditioning
        self.guidance = guidance if isinstance(guidance, Guidance) else Guidance(guidance)
        self.to_prediction = {"eps": from_eps, "v": from_v}[prediction]
        self.splitter = BatchSplitter(len(conditioning))
        if conditioning.uncond is None and self.guidance.scale != 1:
            raise GenerationError(
                f"guidance_scale is {self.guidance.scale} without a negative prompt's "
                "embedding; give one, or scale 1"
            )
        if conditioning.uncond is None and conditioning.needs_uncond:
            raise GenerationError(
                "the weights of the prompts do not add up to 1 without a negative prompt's "
                "embedding; give one"
            )

    def __call__(self, x: Float[Tensor, "b c h w"], moment: Moment) -> Prediction:
        """Evaluate the network on all images, or on some at a time if memory is short.

        GenerationError when there is not one row of conditioning for each image.
        """
        if len(x) != len(self.conditioning):
            raise GenerationError(
                f"{len(x)} latents but {len(self.conditioning)} prompt embeddings; "
                "give one row of cond for each image"
            )
        given = self.conditioning.at(moment)
        output = self.splitter.run(
            lambda some: self._guided(x[some], given.rows(some), moment)
        )  # [b c h w]: what the network predicts, eps or v
        return self.to_prediction(x, output, moment.level)

    def eps(self, x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        """The predicted noise at a level, outside a run: for loops written by hand."""
        return self(x, Moment(level=level)).eps

    def _guided(
        self, x: Float[Tensor, "b c h w"], given: Conditioning, moment: Moment
    ) -> Float[Tensor, "b c h w"]:
        """Guidance at the moment's level. Where uncond has no effect, cond runs alone."""
        if self.guidance.scale_at(moment.level) == 1 and not given.needs_uncond:
            return given.combined(self._output(x, given, moment, guided=False))
        both = self._output(x, given, moment, guided=True)  # [b+kb c h w]: uncond, then cond
        uncond, conds = both[: len(x)], both[len(x) :]
        return self.guidance.combine(uncond, given.combined(conds, uncond), moment.level)

    def _output(
        self, x: Float[Tensor, "b c h w"], given: Conditioning, moment: Moment, guided: bool
    ) -> Float[Tensor, "rows c h w"]:
        """One call of the network, with cond's number type; the answer has that of x."""
        cond = given.tokens(moment, guided)  # [rows n d]
        t = torch.full((1,), moment.level.t, dtype=torch.float32, device=x.device)
        latent = x.to(cond)
        controls = given.active_controls(moment)
        residuals = [control.residuals(latent, t, cond) for control in controls]
        if given.channels is not None:  # [b c+extra h w]: for the U-Net, not for controls
            latent = torch.cat([latent, given.channels.to(latent)], dim=1)
        added = [sum_residuals(residuals)] if residuals else []
        return self.network(latent, t, cond, *added).to(x)
