from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from labml_sd.acceleration import winograd

Close = Callable[[Tensor, Tensor, float], None]


@pytest.fixture(scope="session")
def randn() -> Callable[..., Tensor]:
    """Normal numbers in float64, others for every seed."""

    def draw(*shape: int, seed: int = 0) -> Tensor:
        return torch.randn(
            *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )

    return draw


@pytest.fixture(scope="session")
def assert_close() -> Close:
    """No number is further off than a share of the largest one."""

    def check(found: Tensor, wanted: Tensor, share: float) -> None:
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max()) <= share * float(wanted.abs().max())

    return check


@pytest.fixture(params=sorted(winograd.POINTS))
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The side of the tiles that every layer takes."""
    monkeypatch.setattr(winograd, "MOST_WEIGHTS", 10**9 if request.param == 4 else 0)
    return request.param


@pytest.fixture
def everything_in_tiles(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow layers and small maps too, in several blocks, by tiles of either size."""
    monkeypatch.setattr(winograd, "FEWEST_RESULTS", 1)
    monkeypatch.setattr(winograd, "FEWEST_CHANNELS", 1)
    monkeypatch.setattr(winograd, "FEWEST_WITH_AVX512", 1)
    monkeypatch.setattr(winograd, "BLOCK_BYTES", 40_000)
