r"""The Frechet distance between two sets of pictures, in a network's feature space.

Maps       features [n d], features [m d]  ->  a distance; 0 if mean and covariance are equal
Paper      Heusel et al. 2017, arXiv:1706.08500, eq. 6
Tests      tests/evaluation/test_frechet.py
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Axes:
    """Projects features on a few principal axes, each scaled to unit variance."""

    mean: Float[Tensor, " d"]
    directions: Float[Tensor, "d k"]

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        r"""$y = \Lambda_k^{-1/2} V_k^\top (f - \mu)$: covariance 1 for the set of the axes."""
        return (features.double() - self.mean) @ self.directions


def principal_axes(features: Float[Tensor, "n d"], k: int) -> Axes:
    r"""The `k` leading principal axes, $S = V \Lambda V^\top$; fewer if the rank of S is lower.

    Estimating the covariance of hundreds of features takes many thousands of pictures. For a
    few leading axes, computed once from drawn scenes, hundreds are enough.
    """
    features = features.double()
    values, vectors = torch.linalg.eigh(torch.cov(features.T))  # in ascending order
    k = min(k, int((values > 1e-9 * values[-1]).sum()))
    return Axes(features.mean(dim=0), vectors[:, -k:] / values[-k:].sqrt())


def frechet_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    r"""Squared distance of the Gaussians with the means and covariances of `x` and `y`.

    $$ d^2 = |\mu_x - \mu_y|^2 + \mathrm{tr}\left(S_x + S_y - 2 (S_x S_y)^{1/2}\right) $$

    Computed in float64. It is biased upwards for few pictures: compare it only at equal n and
    m. Each set needs at least two rows.
    """
    x, y = x.double(), y.double()
    d = x.shape[1]
    cov_x, cov_y = torch.cov(x.T).view(d, d), torch.cov(y.T).view(d, d)
    # S_x S_y is similar to S_x^{1/2} S_y S_x^{1/2}: its eigenvalues are real and not negative,
    # except for rounding errors, and the trace of its root is the sum of their roots.
    roots = torch.linalg.eigvals(cov_x @ cov_y).real.clamp(min=0.0).sqrt()
    means = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return float(means + cov_x.trace() + cov_y.trace() - 2.0 * roots.sum())
