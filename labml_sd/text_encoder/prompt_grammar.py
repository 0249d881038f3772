r"""How a prompt is read: extra networks, conditions joined by AND, edits and alternations.

What is left at a step of the run, a text with emphasis, is read by emphasis.py and chunks.py.

Maps       text  ->  Prompt: conditions, each a schedule with a weight; extra networks
Paper      Liu et al. 2022, arXiv:2206.01714, equation 11 (AND)
Reference  AUTOMATIC1111 modules/prompt_parser.py, modules/extra_networks.py
Tests      tests/text_encoder/test_prompt_grammar.py
"""

import math
import re
from dataclasses import dataclass

from labml_sd.text_encoder.prompt_schedule import Nodes, changes, parse_schedule, text_at
from labml_sd.text_encoder.tokenizer import readable

_NETWORK = re.compile(r"<(\w+):([^<>]+)>")
_AND = re.compile(r"\bAND\b")
_WEIGHT = re.compile(r":\s*([-+]?(?:\d+\.?\d*|\.\d+))\s*$")


@dataclass(frozen=True)
class ExtraNetwork:
    """`<kind:name:argument:...>`, as in `<lora:style:0.8>`."""

    kind: str
    name: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Condition:
    """One of the texts that AND joins, and its weight."""

    schedule: Nodes
    weight: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """A prompt as it is read."""

    conditions: tuple[Condition, ...]
    networks: tuple[ExtraNetwork, ...] = ()

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of the conditions."""
        return tuple(condition.weight for condition in self.conditions)

    @property
    def changes(self) -> bool:
        """Whether a text depends on the step."""
        return any(changes(condition.schedule) for condition in self.conditions)

    def texts(self, step: int, n_steps: int) -> tuple[str, ...]:
        """The text of each condition at a step of `n_steps`, counted from 1."""
        return tuple(text_at(c.schedule, step, n_steps) for c in self.conditions)


def read_prompt(text: str, emphasis: str = "a1111", *, several: bool = True) -> Prompt:
    """Read a prompt. Every text can be read; a very long one is cut, with a warning.

    With `emphasis` "none" and "comfy" there are no extra networks, no AND, no edits and no
    alternations. `several=False` reads AND as a word, as in a negative prompt. A weight, as in
    "a house :0.7 AND a boat :1.2", counts only where there is an AND.
    """
    text = readable(text)
    if emphasis in ("none", "comfy"):
        return Prompt((Condition((text,) if text else ()),))
    networks = tuple(
        ExtraNetwork(kind, *_arguments(rest)) for kind, rest in _NETWORK.findall(text)
    )
    text = _NETWORK.sub("", text)
    parts = _AND.split(text) if several else [text]
    if len(parts) == 1:
        return Prompt((Condition(parse_schedule(text)),), networks)
    weighed = (_weighed(part) for part in parts)
    conditions = tuple(Condition(parse_schedule(part), weight) for part, weight in weighed)
    return Prompt(conditions, networks)


def _arguments(rest: str) -> tuple[str, tuple[str, ...]]:
    name, *arguments = rest.split(":")
    return name, tuple(arguments)


def _weighed(part: str) -> tuple[str, float]:
    found = _WEIGHT.search(part)
    if found is None or not math.isfinite(float(found[1])):
        return part, 1.0
    return part[: found.start()], float(found[1])
