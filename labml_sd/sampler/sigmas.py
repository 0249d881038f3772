r"""Levels spaced by sigma instead of by time: Karras' curve, and evenly in log sigma.

Maps       n_steps and the two ends  ->  n_steps sigmas, from the noisiest to the cleanest
Paper      Karras et al. 2022, arXiv:2206.00364, equation 5
Reference  k-diffusion k_diffusion/sampling.py, get_sigmas_karras and get_sigmas_exponential
Tests      tests/sampler/test_sigmas.py
"""

import math

RHO = 7.0  # Karras et al., table 1


def karras_sigmas(
    n_steps: int, highest: float, lowest: float, rho: float = RHO
) -> tuple[float, ...]:
    r"""Even in $\sigma^{1/\rho}$, Karras eq. 5: the larger rho, the more steps at low noise.

    $$ \sigma_i = \left(\sigma_{hi}^{1/\rho}
                  + \tfrac{i}{n-1} (\sigma_{lo}^{1/\rho} - \sigma_{hi}^{1/\rho})\right)^\rho $$
    """
    top, bottom = highest ** (1 / rho), lowest ** (1 / rho)
    return tuple((top + share * (bottom - top)) ** rho for share in _shares(n_steps))


def exponential_sigmas(n_steps: int, highest: float, lowest: float) -> tuple[float, ...]:
    r"""Even in $\log\sigma$, a constant ratio: the limit of Karras' curve for infinite rho."""
    top, bottom = math.log(highest), math.log(lowest)
    return tuple(math.exp(top + share * (bottom - top)) for share in _shares(n_steps))


def _shares(n_steps: int) -> list[float]:
    """The place of each sigma, from 0 (the highest) to 1 (the lowest); a single one is at 0."""
    return [i / max(1, n_steps - 1) for i in range(n_steps)]
