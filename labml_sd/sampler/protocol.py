r"""What a sampler is: two methods, and what the loop hands them.

Maps       nothing; the types that a sampler, the guided network and the loop agree on
Tests      tests/sampler/test_loop.py
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from labml_sd.sampler.schedule import Level, Schedule, predict_x0

Evaluate = Callable[[Tensor, Level], Tensor]
"""(x [b c h w], level) -> eps [b c h w]: the network with prompt and guidance bound (`guidance.guided`)."""

Draw = Callable[[], Tensor]
"""() -> fresh standard normal noise, shaped like x (`noise.NoiseSource.draw`)."""

Blend = Callable[[Tensor, Level], Tensor]
"""(x, level) -> x: changes the latent after each step (`blend.inpaint_blend`)."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The network's answer `eps` to the latent `x` at a level: what multi-step samplers look back on."""

    level: Level
    x: Float[Tensor, "b c h w"]
    eps: Float[Tensor, "b c h w"]

    @property
    def x0(self) -> Float[Tensor, "b c h w"]:
        """The clean latent that this answer implies."""
        return predict_x0(self.x, self.eps, self.level)


@runtime_checkable
class Sampler(Protocol):
    r"""A choice of levels and one pure step between two of them.

    Latents are always in the form $x_t = \sqrt{\bar\alpha}\, z + \sqrt{1 - \bar\alpha}\,
    \epsilon$. A sampler that thinks in sigma divides by $\sqrt{\bar\alpha}$ when its step
    starts and multiplies when it ends. One that evaluates between two levels may list a
    subclass of Level that carries the level in between.

    The package's samplers also tell their cost: `evaluations_per_step`, how often a step in the
    middle of a run asks the network. Where the first or the last step differs, the sampler's
    docstring says so.
    """

    def levels(self, schedule: Schedule, n_steps: int) -> list[Level]:
        """n_steps + 1 levels, from the noisiest to the one the run ends at."""
        ...

    def step(
        self,
        evaluate: Evaluate,
        x: Tensor,
        here: Level,
        there: Level,
        draw: Draw,
        history: Sequence[Evaluation],
    ) -> Tensor:
        """Bring x from `here` to `there`; x stays as it was.

        `evaluate` may be called several times; `draw` only when noise is used. `history` holds
        the first evaluation of each of the last three steps, the latest last; it is empty at
        the first step of a run.
        """
        ...
