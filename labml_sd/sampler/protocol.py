r"""What a sampler is, a list of levels and a step between two of them, and what a step gets.

Maps       types only: Moment, Denoise, Evaluation, StepInput, Sampler
Tests      tests/sampler/test_loop.py
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.prediction import Prediction, from_eps
from labml_sd.sampler.schedule import Level, Schedule


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When in a run the network is evaluated.

    `level` is the noise level of the latent. `step` counts from 0 to `n_steps - 1`.
    `evaluation` counts the evaluations inside one step from 0: a second-order sampler makes
    two. Outside a run the level alone is enough: `Moment(level=level)`.
    """

    level: Level
    step: int = 0
    n_steps: int = 1
    evaluation: int = 0


Denoise = Callable[[Tensor, Moment], Prediction]
"""(x [b c h w], moment) -> eps and x0: a network with prompts, guidance and all else bound."""


def eps_denoiser(eps_of: Callable[[Tensor, Level], Tensor]) -> Denoise:
    """A function (x, level) -> eps as a Denoise: a closed form, or a toy network."""

    def denoise(x: Float[Tensor, "b c h w"], moment: Moment) -> Prediction:
        return from_eps(x, eps_of(x, moment.level), moment.level)

    return denoise


Draw = Callable[[], Tensor]
"""() -> fresh standard normal noise, shaped like x (`noise.NoiseSource.draw`)."""

Blend = Callable[[Tensor, Level], Tensor]
"""(x, level) -> x: changes the latent after each step (`blend.inpaint_blend`)."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A prediction, with the latent `x` and the level it was made for."""

    level: Level
    x: Float[Tensor, "b c h w"]
    eps: Float[Tensor, "b c h w"]
    x0: Float[Tensor, "b c h w"]


@dataclass(frozen=True, eq=False)
class StepInput:
    """What the loop gives a sampler for one step, from `here` to `there`.

    `x` is the latent at `here`. `evaluate(x, level)` runs the network and may be called
    several times. `draw()` gives fresh noise; call it only if the noise is used. `history`
    holds the first evaluation of each of the last three steps, the latest last; it is empty in
    the first step of a run.
    """

    evaluate: Callable[[Tensor, Level], Evaluation]
    x: Float[Tensor, "b c h w"]
    here: Level
    there: Level
    draw: Draw
    history: Sequence[Evaluation] = ()


@runtime_checkable
class Sampler(Protocol):
    r"""A choice of levels and one pure step between two of them.

    Latents always have the form $x_t = \sqrt{\bar\alpha}\, z + \sqrt{1 - \bar\alpha}\,
    \epsilon$. A sampler whose paper works in sigma divides by $\sqrt{\bar\alpha}$ when its step
    starts and multiplies when it ends. One that evaluates between two levels may list a
    subclass of Level that carries the level in between.

    The samplers of this package also state their cost, `evaluations_per_step`: how often a step
    in the middle of a run evaluates the network. Where the first or the last step differs, the
    sampler's docstring says so.
    """

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """n_steps + 1 levels, from the noisiest to the one the run ends at."""
        ...

    def step(self, given: StepInput) -> Tensor:
        """The latent at `given.there`; `given.x` is not changed."""
        ...
