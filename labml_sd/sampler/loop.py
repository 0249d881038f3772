r"""The sampling loop, written once for every sampler: blend, callback, progress, checks.

Maps       x at levels[0] [b c h w]  ->  z at levels[-1] [b c h w]
Tests      tests/sampler/test_loop.py
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from labml_sd.sampler.finite import FiniteWatch
from labml_sd.sampler.protocol import (
    Blend,
    Denoise,
    Draw,
    Evaluation,
    Moment,
    Sampler,
    StepInput,
)
from labml_sd.sampler.schedule import Level

N_PAST = 3  # enough for fourth order: this step and three before it


@dataclass(frozen=True, eq=False)
class Step:
    """What `on_step` gets after a step. The tensors are copies: changing them changes nothing.

    `index` counts from 0. `t` is the time of the level the step started from; `eps` and `x0`
    are what the network predicted there. `x` is the latent after the step, at the next level,
    blended.
    """

    index: int
    n_steps: int
    t: float
    x: Float[Tensor, "b c h w"]
    x0: Float[Tensor, "b c h w"]
    eps: Float[Tensor, "b c h w"]


@torch.no_grad()
def sample(
    sampler: Sampler,
    denoise: Denoise,
    x: Float[Tensor, "b c h w"],
    levels: Sequence[Level],
    *,
    draw: Draw,
    blend: Blend | None = None,
    on_step: Callable[[Step], object] | None = None,
    progress: bool = True,
) -> Float[Tensor, "b c h w"]:
    """Run the sampler's step from each level to the next: len(levels) - 1 steps.

    x must be at levels[0]; it is not changed. The state has x's dtype, or float32 where that is
    narrower. `blend` is applied to the starting x and after every step. `on_step` gets a Step
    after every step; an exception in it ends the run and closes the progress bar, as Ctrl-C
    does. GenerationError when x or a prediction is not finite: at once on the CPU, at the end
    of the run on other devices.
    """
    n_steps = len(levels) - 1
    watch = FiniteWatch(n_steps, at_once=x.device.type == "cpu")
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    if blend is not None:
        x = blend(x, levels[0])
    watch.look(x, "the starting x", 0, levels[0].t)
    history: list[Evaluation] = []
    with tqdm(total=n_steps, disable=not progress) as bar:
        for index, (here, there) in enumerate(pairwise(levels)):
            evaluate, made = _recorder(denoise, watch, index)
            x = sampler.step(StepInput(evaluate, x, here, there, draw, tuple(history)))
            if blend is not None:
                x = blend(x, there)
            watch.look(x, "the sampler's x", index, here.t)
            history = [*history, made[0]][-N_PAST:]
            bar.update()
            if on_step is not None:
                copies = (x.clone(), made[0].x0.clone(), made[0].eps.clone())
                on_step(Step(index, n_steps, here.t, *copies))
    watch.report()
    return x


def _recorder(
    denoise: Denoise, watch: FiniteWatch, index: int
) -> tuple[Callable[[Tensor, Level], Evaluation], list[Evaluation]]:
    """`evaluate` of one step, which adds the moment and checks, and the list of its answers."""
    made: list[Evaluation] = []

    # A plain Tensor: the annotation of an inner function is evaluated at every step.
    def evaluate(x: Tensor, level: Level) -> Evaluation:
        moment = Moment(level=level, step=index, n_steps=watch.n_steps, evaluation=len(made))
        prediction = denoise(x, moment)
        watch.look(prediction.eps, "the U-Net's eps", index, level.t)
        made.append(Evaluation(level, x, prediction.eps, prediction.x0))
        return made[-1]

    return evaluate, made
