r"""How far two sets of pictures are apart, seen through a network's features.

Maps       features [n d], features [m d]  ->  a distance, 0 for sets of equal mean and covariance
Paper      Heusel et al. 2017, arXiv:1706.08500, eq. 6
Tests      tests/evaluation/test_frechet.py
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Axes:
    """A few directions in which features differ most, each in units of its own standard deviation."""

    mean: Float[Tensor, " d"]
    directions: Float[Tensor, "d k"]

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        r"""$y = \Lambda_k^{-1/2} V_k^\top (f - \mu)$: mean 0, covariance 1 for the set the axes came from."""
        return (features.double() - self.mean) @ self.directions


def principal_axes(features: Float[Tensor, "n d"], k: int) -> Axes:
    r"""The `k` leading principal axes of a set of features, $S = V \Lambda V^\top$; fewer where it has fewer.

    Hundreds of features need many thousands of pictures before the covariances of two sets can
    be told from their scatter. A few leading axes, fixed once by drawn scenes, need hundreds.
    """
    features = features.double()
    values, vectors = torch.linalg.eigh(_covariance(features))  # in ascending order
    k = min(k, int((values > 1e-9 * values[-1]).sum()))
    return Axes(features.mean(dim=0), vectors[:, -k:] / values[-k:].sqrt())


def frechet_distance(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    r"""Squared distance between the Gaussians that have the means and covariances of `x` and `y`.

    $$ d^2 = |\mu_x - \mu_y|^2 + \mathrm{tr}\left(S_x + S_y - 2 (S_x^{1/2} S_y S_x^{1/2})^{1/2}\right) $$

    In float64 whatever comes in. Few pictures make it too large: compare it only at equal n and
    m. Needs two rows or more in each set.
    """
    x, y = x.double(), y.double()
    cov_x, cov_y = _covariance(x), _covariance(y)
    root = _root(cov_x)
    # The eigenvalues of the product of two covariances are never negative, but for rounding.
    both = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0.0).sqrt().sum()
    means = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return float(means + cov_x.trace() + cov_y.trace() - 2.0 * both)


def _covariance(x: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    centred = x - x.mean(dim=0)
    return centred.T @ centred / (len(x) - 1)


def _root(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
