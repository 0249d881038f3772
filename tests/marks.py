"""Parameters that only `pytest -m slow` runs."""

import pytest


def slow(*values):
    """One parameter for each value; a tuple stands for several arguments."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
        for value in values
    ]
