r"""The same network with faster layers.

Maps       a network  ->  a second module tree over the same parameters
Tests      tests/acceleration/test_accelerate.py
"""

from typing import TypeVar

from torch import nn

N = TypeVar("N", bound=nn.Module)


def accelerate(network: N) -> N:
    """The network itself for now."""
    return network


def accelerated(network: N) -> N:
    """The network itself for now."""
    return network
