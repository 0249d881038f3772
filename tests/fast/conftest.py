from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Close = Callable[[Tensor, Tensor, float], None]


@pytest.fixture(scope="session")
def randn() -> Callable[..., Tensor]:
    """Normal numbers in float64, others for every seed."""

    def draw(*shape: int, seed: int = 0) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture(scope="session")
def assert_close() -> Close:
    """No number is further off than a share of the largest one."""

    def check(found: Tensor, wanted: Tensor, share: float) -> None:
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max()) <= share * float(wanted.abs().max())

    return check
