r"""UniPC: predict the next latent from the last three evaluations, correct it with the next.

Maps       x, up to four predictions of the clean latent [b c h w], levels
           ->  x corrected; x at a cleaner level
Paper      Zhao et al. 2023, arXiv:2302.04867, theorem 3.1 (UniC-p), corollary 3.2 (UniP-p),
           data prediction
Tests      tests/sampler/solvers/test_unipc.py
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from labml_sd.errors import GenerationError
from labml_sd.sampler.protocol import Evaluation, StepInput
from labml_sd.sampler.schedule import Level, Schedule
from labml_sd.sampler.solvers.dpmpp_2m import dpmpp_first_order_step
from labml_sd.sampler.solvers.solver import Solver

MAX_ORDER = 3  # the corrector of order 3 uses three past evaluations, all the loop keeps


@dataclass(frozen=True)
class LevelWithOrder(Level):
    """A visited level with the highest order that the step starting here may have."""

    max_order: int


def moments(h: float, n: int) -> list[float]:
    r"""The first n of $M_j = \int_0^1 e^{-(1 - s) h}\, s^j\, ds$, j from 1.

    M_j is what the power j of s contributes to a step. By parts $M_j = (1 - j M_{j-1}) / h$;
    for small h that cancels every digit, and a power series takes its place.
    """
    if h < 1:
        terms = range(20)
        return [
            sum((-h) ** k * math.factorial(j) / math.factorial(j + k + 1) for k in terms)
            for j in range(1, n + 1)
        ]
    found = [-math.expm1(-h) / h]
    for j in range(1, n + 1):
        found.append((1 - j * found[-1]) / h)
    return found[1:]


def term_weights(h: float, nodes: Sequence[float], solver: str) -> list[float]:
    r"""The weights c of theorem 3.1: $\sum_k c_k\, r_k^{j-1} = M_j$, an equation for each node.

    They make the step exact where the clean latent is a polynomial in lambda. A single node is
    the paper's exception: its weight is half of B(h), for any node. Only there "bh1", B = h,
    and "bh2", B = 1 - exp(-h), differ.
    """
    if len(nodes) == 1:
        return [0.5 if solver == "bh1" else -0.5 * math.expm1(-h) / h]
    powers = np.vander(nodes, increasing=True).T
    return [float(c) for c in np.linalg.solve(powers, moments(h, len(nodes)))]


def higher_order_terms(
    x0: Float[Tensor, "b c h w"],
    others: Sequence[Evaluation],
    here: Level,
    there: Level,
    solver: str = "bh2",
) -> Float[Tensor, "b c h w"]:
    r"""What other predictions add to the first-order step from t to s.

    $$ \alpha_s h \sum_k c_k \frac{D_k - D_t}{r_k}, \qquad
       r_k = \frac{\lambda_k - \lambda_t}{h}, \qquad h = \lambda_s - \lambda_t $$

    D are predictions of the clean latent, $\alpha = \sqrt{\bar\alpha}$. With those from before
    t alone the sum predicts (UniP); with the one at s, r = 1, too, it corrects (UniC).
    """
    if not others:
        return 0 * x0
    h = there.half_log_snr - here.half_log_snr
    nodes = [(other.level.half_log_snr - here.half_log_snr) / h for other in others]
    weights = term_weights(h, nodes, solver)
    terms = (
        c / r * (other.x0 - x0) for c, r, other in zip(weights, nodes, others, strict=True)
    )
    return math.sqrt(there.alpha_bar) * h * sum(terms, start=0 * x0)


def unip_step(
    x: Float[Tensor, "b c h w"],
    x0: Float[Tensor, "b c h w"],
    past: Sequence[Evaluation],
    here: Level,
    there: Level,
    solver: str = "bh2",
) -> Float[Tensor, "b c h w"]:
    """Predict x at `there`: UniP of order 1 + len(past).

    Give no past into CLEAN: there h is infinite.
    """
    return dpmpp_first_order_step(x, x0, here, there) + higher_order_terms(
        x0, past, here, there, solver
    )


def unic_step(
    now: Evaluation, past: Sequence[Evaluation], solver: str = "bh2"
) -> Float[Tensor, "b c h w"]:
    """Correct a predicted x once the network has been evaluated at it: UniC of order len(past).

    `past` are the evaluations that x was predicted from, the last of them at the start of that
    step. Predictor and corrector start from the same latent, which cancels: the correction is
    the difference of the two sums of `higher_order_terms`.
    """
    *older, start = past
    predicted = higher_order_terms(start.x0, older, start.level, now.level, solver)
    corrected = higher_order_terms(start.x0, [*older, now], start.level, now.level, solver)
    return now.x + (corrected - predicted)


@dataclass(frozen=True)
class UniPC(Solver):
    """Order 3 from one evaluation a step, lower in the first two steps and the last two.

    The corrector costs no evaluation: it uses the one that the next prediction needs anyway,
    made at the x before correction.
    """

    order: int = MAX_ORDER
    solver: str = "bh2"

    def __post_init__(self) -> None:
        """Refuse an order that needs more history than the loop keeps, and an unknown B(h)."""
        if self.order not in range(1, MAX_ORDER + 1):
            raise GenerationError(
                f"order is {self.order!r}; give a whole number from 1 to {MAX_ORDER}"
            )
        if self.solver not in ("bh1", "bh2"):
            raise GenerationError(
                f"solver is {self.solver!r}; give 'bh2' (the usual one) or 'bh1'"
            )

    def completed(self, schedule: Schedule, levels: Sequence[Level]) -> list[Level]:
        """Each level but the last with its order. For stability it falls to 1 at the end."""
        *starts, end = levels
        orders = [min(self.order, n_left) for n_left in range(len(starts), 0, -1)]
        steps = zip(starts, orders, strict=True)
        return [*(LevelWithOrder(h.t, h.alpha_bar, order) for h, order in steps), end]

    def step(self, given: StepInput) -> Tensor:
        """One evaluation, no draw: first correct x, then predict from it."""
        x, here, there, history = given.x, given.here, given.there, list(given.history)
        now = given.evaluate(x, here)
        if there.alpha_bar == 1:
            return now.x0
        if history:
            n_used = self._order(history[-1].level, len(history))
            x = unic_step(now, history[-n_used:], self.solver)  # [b c h w], still at `here`
        order = self._order(here, len(history) + 1)
        past = history[len(history) - (order - 1) :]
        return unip_step(x, now.x0, past, here, there, self.solver)

    def _order(self, level: Level, n_known: int) -> int:
        """The order of the step that starts at a level, when n_known evaluations are known."""
        highest = level.max_order if isinstance(level, LevelWithOrder) else self.order
        return min(self.order, highest, n_known)
