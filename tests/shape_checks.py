"""Shapes are checked while the tests run: jaxtyping's import hook, with a cheaper decorator.

`--jaxtyping-packages=labml_sd,beartype.beartype` decorates every function and class of the
package with `jaxtyping.jaxtyped`, which checks arguments twice and binds them each time. At the
sizes of the tests that costs more than the work itself. This module, imported before the
package, replaces the decorator by one that makes the same checks once: a function without
shapes is left to beartype alone, and one with shapes opens a scope for the names of its axes.

beartype writes and compiles a wrapper for each function that it is given. A function inside
another one is made again in every call; then the first one's wrapper is bound to the next.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import jaxtyping

original = jaxtyping.jaxtyped
wrappers: dict[CodeType, Any] = {}


def checked(target: Any = None, *, typechecker: Callable[[Any], Any] | None = None) -> Any:
    """What the import hook puts above every function and class, in place of `jaxtyped`."""
    if target is None:
        return functools.partial(checked, typechecker=typechecker)
    if typechecker is None:  # `with jaxtyped("context")`
        return original(target)
    if inspect.isclass(target):
        if dataclasses.is_dataclass(target) and "__init__" in vars(target):
            target.__init__ = checked(target.__init__, typechecker=typechecker)
        return target
    return checked_function(target, typechecker)


def checked_function(function: Any, typechecker: Callable[[Any], Any]) -> Any:
    try:
        once = wrapped(function, typechecker)
    except Exception:  # beartype cannot read an annotation like "tqdm[Never]"; jaxtyping can
        return original(function, typechecker=typechecker)
    annotations = [str(annotation) for annotation in function.__annotations__.values()]
    if not any("jaxtyping" in annotation for annotation in annotations):
        return once
    if any("{" in annotation for annotation in annotations):
        return original(once, typechecker=None)  # an axis computed from an argument

    @functools.wraps(function)
    def with_axes(*args: Any, **options: Any) -> Any:
        __tracebackhide__ = True
        with original("context"):
            return once(*args, **options)

    return with_axes


def wrapped(function: Any, typechecker: Callable[[Any], Any]) -> Any:
    """`typechecker(function)`, compiled once for all functions of the same code."""
    if "<locals>" not in function.__qualname__:
        return typechecker(function)
    wrapper = wrappers.get(function.__code__)
    named = getattr(wrapper, "__kwdefaults__", None) or {}
    if "__beartype_func" not in named:  # the first one, or one with nothing to check
        wrappers[function.__code__] = typechecker(function)
        return wrappers[function.__code__]
    bound = FunctionType(wrapper.__code__, wrapper.__globals__, function.__name__)
    bound.__kwdefaults__ = {**named, "__beartype_func": function}
    return functools.update_wrapper(bound, function)


jaxtyping.jaxtyped = checked
