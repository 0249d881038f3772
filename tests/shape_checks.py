"""Shapes are checked while the tests run: jaxtyping's import hook, with a cheaper decorator.

`--jaxtyping-packages=labml_sd,beartype.beartype` decorates every function and class of the
package with `jaxtyping.jaxtyped`, which checks arguments twice and binds them each time. At the
sizes of the tests that costs more than the work itself. This module, imported before the
package, replaces the decorator by one that makes the same checks once: a function without
shapes is left to beartype alone, and one with shapes opens a scope for the names of its axes.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxtyping

original = jaxtyping.jaxtyped


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
        once = typechecker(function)
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


jaxtyping.jaxtyped = checked
