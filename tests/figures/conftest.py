"""Figures of matplotlib, before they become PNGs."""

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """All that were drawn, for their data."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self, *args, **options):
        figures.append(self)
        return save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
