r"""The settings of a call: from its keyword arguments, and in the signature of what is called.

Maps       keyword arguments -> Settings, every value checked
Tests      tests/settings/test_settings.py
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from labml_sd.errors import GenerationError, quoted
from labml_sd.settings.settings import Setting, Settings

F = TypeVar("F", bound=Callable[..., object])

_OF_DIFFUSERS = {  # other names than ours, for what is not a plain value there
    "callback": "on_step",
    "callback_on_step_end": "on_step",
    "generator": "seed",
    "num_images_per_prompt": "n_images",
    "eta": "sampler",
}


def described(task: str = "") -> dict[str, Setting]:
    """What is said of each setting of a task, by its name; without a task of all settings."""
    found = {}
    for f in fields(Settings):
        keys = {"json_keys": (f.name,), "text_keys": (f.name.replace("_", " ").capitalize(),)}
        about = Setting(name=f.name, default=f.default, **{**keys, **f.metadata})
        if not (task and about.tasks) or task in about.tasks:
            found[f.name] = about
    return found


def check_settings(given: Mapping[str, object], task: str = "txt2img") -> Settings:
    """The settings of a call of a task, every value checked.

    Raises `GenerationError` for a value out of its range, and for an unknown name, with the
    nearest one that there is; `PromptError` for a negative prompt that is not text.
    """
    known = described(task)
    for name in given:
        if name not in known:
            raise GenerationError(_unknown(name, known))
    values: dict[str, Any] = {name: known[name].check(given[name]) for name in given}
    return Settings(**values)


def _unknown(name: str, known: Mapping[str, Setting]) -> str:
    if name == "strength":
        return "strength is a setting of img2img and inpaint: leave it out of txt2img"
    if name in described():
        tasks = " and ".join(described()[name].tasks)
        return f"{name} is a setting of {tasks}: leave it out here"
    names = {other: other for other in (*known, "strength", "on_step", "progress")}
    names |= _OF_DIFFUSERS
    for setting, about in known.items():  # what other programs call it: num_inference_steps
        names |= {flag.strip("-").replace("-", "_"): setting for flag in about.flags}
    nearest = names[get_close_matches(name[:50], names, n=1, cutoff=0.0)[0]]
    there_are = f"There are {', '.join(known)}"
    return f"unknown setting {quoted(name)}, did you mean {nearest!r}? {there_are}"


def takes_settings(pipeline: F) -> F:
    """List all settings in the signature and docstring of a function that takes `**settings`.

    `help`, Jupyter and Sphinx then show every name with its default.
    """
    own = inspect.signature(pipeline)
    named = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    known = described(pipeline.__name__)
    added = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type
        )
        for f in fields(Settings)
        if f.name in known
    ]
    vars(pipeline)["__signature__"] = own.replace(parameters=[*named, *added])
    lines = [_line(about) for about in known.values()]
    pipeline.__doc__ = "\n".join([inspect.getdoc(pipeline) or "", "", "Settings:", "", *lines])
    return pipeline


def _line(about: Setting) -> str:
    none = f"; None: {about.none}" if about.none else ""
    return f"- `{about.name}` = {about.default!r}: {about.help}{none}"
