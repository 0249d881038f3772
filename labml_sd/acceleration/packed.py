r"""Packed: a layer that computes the same as a plain layer, faster, where nobody could notice.

Maps       a plain layer  ->  a layer of a subclass, with the same parameters
Tests      tests/acceleration/test_packed.py
"""

import copy
from collections.abc import Iterable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from labml_sd.utilities.shapes_only import shapes_only

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# attributes that may differ between two layers that are built alike
SIZES = frozenset(
    "in_channels out_channels in_features out_features num_channels num_groups"
    " normalized_shape n_heads eps activation".split()
)
EVERY_MODULES = frozenset(vars(nn.Module()))  # hooks, parameters, training mode, ...
GLOBAL_HOOKS: list[dict[int, Any]] = [
    getattr(nn.modules.module, f"_global{name}") for name in HOOKS
]


class Packed(nn.Module):
    """Stands in for the layer `plain`, whose parameters, inner layers and hooks it shares.

    Subclasses derive from the class of the layer too, and compute the same in `forward`. A call
    goes to the plain layer instead wherever `forward` would pass something by: a hook on the
    layer or inside it, a global hook, autocast, gradients, a number type that is not that of
    the weights.

    A packed layer never writes into a tensor that it did not make itself.
    """

    plain: nn.Module

    def __init__(self, plain: nn.Module) -> None:
        # the very dictionaries of `plain`: what is changed in one is changed in both
        self.__dict__.update(vars(plain), plain=plain)
        modules = list(plain.modules())
        self.hooks = [vars(module)[name] for module in modules for name in HOOKS]
        self.weights = weights_of(modules)

    @classmethod
    def fits(cls, plain: Any) -> bool:
        """Whether a layer, apart from hooks, is as its class builds it."""
        raise NotImplementedError

    def suits(self, x: Tensor, *others: Any) -> bool:
        """Whether `forward` may take the place of the plain layer in this call."""
        weight = self.weights[0]
        return (
            (x.dtype, x.device) == (weight.dtype, weight.device)
            and not any(self.hooks)
            and not any(GLOBAL_HOOKS)
            and not is_autocast(x.device)
            and not (torch.is_grad_enabled() and needs_grad([x, *others, *self.weights]))
        )

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Compute, or let the plain layer do it."""
        run = self.forward if self.suits(*args, *named.values()) else self.plain
        return run(*args, **named)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A copy, or a pickle, is that of the plain layer."""
        return copy.copy, (self.plain,)


def is_autocast(device: torch.device) -> bool:
    """Whether `torch.autocast` chooses number types for this device."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def needs_grad(values: Iterable[Any]) -> bool:
    """Whether one of them is a tensor that takes part in a graph of gradients."""
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


@cache
def new(kind: type[nn.Module], *args: Any, **named: Any) -> nn.Module:
    """A layer as its class builds it, without memory for weights."""
    with shapes_only():
        return kind(*args, **named)


def weights_of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The weights of modules, without those of modules inside them."""
    return [w for module in modules for w in module._parameters.values() if w is not None]


def is_ordinary(layer: nn.Module, template: nn.Module, but: frozenset[str] = SIZES) -> bool:
    """Whether a layer, inside too, is as its class builds it, but for weights and `but`.

    Then its packed form computes the same. Hooks do not count: `Packed` looks at them at every
    call.
    """
    modules = list(layer.modules())
    weights = weights_of(modules)
    return (
        is_alike(layer, template, but)
        and all(type(weight) is nn.Parameter for weight in weights)
        and len({(weight.dtype, weight.device) for weight in weights}) == 1
        and all(has_own_methods(kind) for kind in {type(module) for module in modules})
    )


def is_alike(layer: nn.Module, template: nn.Module, but: frozenset[str]) -> bool:
    """Whether classes, names, and attributes other than `but` are equal, at every depth."""
    return (
        type(layer) is type(template)
        and has_equal_attributes(layer, template, but)
        and list(layer._modules) == list(template._modules)
        and all(
            is_alike(inner, expected, but)
            for inner, expected in zip(layer.children(), template.children(), strict=True)
        )
    )


def has_equal_attributes(layer: nn.Module, template: nn.Module, but: frozenset[str]) -> bool:
    """Whether the same is set on both, and both have weights, or None, of the same names."""
    found, expected = vars(layer), vars(template)
    names = (found.keys() | expected.keys()) - EVERY_MODULES - but
    weights, others = layer._parameters, template._parameters
    return (
        all(name in found and name in expected for name in names)
        and all(type(found[name]) is type(expected[name]) for name in names)
        and all(found[name] == expected[name] for name in names)
        and weights.keys() == others.keys()
        and all((weights[name] is None) == (others[name] is None) for name in weights)
    )


def has_own_methods(kind: type) -> bool:
    """Whether the methods of a class are those of its source, none replaced from outside."""
    return all(
        is_written(method, kind.__module__, f"{kind.__qualname__}.{name}")
        for name, method in vars(kind).items()
        if isinstance(method, FunctionType)
    )


def is_written(function: object, module: str, name: str) -> bool:
    """Whether a function is the one that stands under this name in the source of a module."""
    found = (getattr(function, "__module__", None), getattr(function, "__qualname__", None))
    return found == (module, name)
