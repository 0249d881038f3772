r"""The sampling loop, written once for every sampler: blend, callbacks, progress, interruption, checks.

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
from labml_sd.sampler.protocol import Blend, Draw, Evaluate, Evaluation, Sampler
from labml_sd.sampler.schedule import Level

N_PAST = 3  # enough for fourth order: this step and three before it


@dataclass(frozen=True, eq=False)
class Step:
    """What `on_step` is told after a step. The tensors are copies: changing them does not change the run.

    `index` counts from 0. `t` is the level the step started from; `eps` is what the network
    answered there, and `x0` the clean latent it implies. `x` is the latent after the step, at
    the next level, blended.
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
    evaluate: Evaluate,
    x: Float[Tensor, "b c h w"],
    levels: Sequence[Level],
    *,
    draw: Draw,
    blend: Blend | None = None,
    on_step: Callable[[Step], object] | None = None,
    progress: bool = True,
) -> Float[Tensor, "b c h w"]:
    """Run the sampler's step from each level to the next: len(levels) - 1 steps, none for a single level.

    x must be at levels[0]; it is not changed. The state has x's dtype, or float32 where that is
    narrower. `blend` is applied to the starting x and after every step. `on_step` gets a Step
    after every step; what it raises ends the run and closes the progress bar, as Ctrl-C does.
    GenerationError when x or an eps is not finite: at once on the CPU, at the end of the run
    elsewhere.
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
            recorder = _Recorder(evaluate, watch, index)
            x = sampler.step(recorder, x, here, there, draw, tuple(history))
            if blend is not None:
                x = blend(x, there)
            watch.look(x, "the sampler's x", index, here.t)
            first = recorder.evaluations[0]
            history = [*history, first][-N_PAST:]
            bar.update()
            if on_step is not None:
                on_step(Step(index, n_steps, here.t, x.clone(), first.x0, first.eps.clone()))
    watch.report()
    return x


class _Recorder:
    """The network, checked, with its answers of one step kept."""

    def __init__(self, evaluate: Evaluate, watch: FiniteWatch, index: int) -> None:
        self.evaluate = evaluate
        self.watch = watch
        self.index = index
        self.evaluations: list[Evaluation] = []

    def __call__(self, x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        eps = self.evaluate(x, level)
        self.watch.look(eps, "the U-Net's eps", self.index, level.t)
        self.evaluations.append(Evaluation(level, x, eps))
        return eps
