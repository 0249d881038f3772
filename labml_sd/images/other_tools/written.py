r"""The form in which a picture's texts are answered, whichever program wrote them.

Maps       values under a program's own names -> entries under those of the web UI
Tests      tests/images/other_tools
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a picture's texts say it was made from."""

    tool: str
    prompt: str
    negative_prompt: str = ""
    task: str = "txt2img"
    entries: Mapping[str, str] = field(default_factory=dict)  # as in the web UI's text


def text(value: object) -> str:
    """A value as it is written; "" for None, lists and all that is not one word or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return str(value)


def titled(values: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, str]:
    """{title: value} for the keys of `titles` that there are; of two keys the first."""
    found: dict[str, str] = {}
    for key, title in titles.items():
        if value := text(values.get(key)):
            found.setdefault(title, value)
    return found


def size(width: object, height: object) -> dict[str, str]:
    """The entry "Size"."""
    return {"Size": f"{text(width)}x{text(height)}"} if text(width) and text(height) else {}


def model_name(path: object) -> dict[str, str]:
    """The entry "Model": a file's name without its folders and `.safetensors`."""
    name = PureWindowsPath(text(path)).name  # it takes / and \ as the ends of folders
    for suffix in (".safetensors", ".ckpt"):
        name = name.removesuffix(suffix)
    return {"Model": name} if name else {}


def listed(title: str, names: list[str]) -> dict[str, str]:
    """One entry for several names."""
    return {title: ", ".join(filter(None, names))} if any(names) else {}
