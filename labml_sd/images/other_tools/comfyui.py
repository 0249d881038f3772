r"""ComfyUI: a graph of nodes, each with a class and inputs, some of them links to other nodes.

A sampler has the numbers, and links to the prompts, the model and the latent it starts from.
Nodes between them may be anybody's, so links are followed through what is not known.

Maps       {"prompt": JSON, node -> class and inputs} -> prompt, negative prompt, entries
Reference  ComfyUI, nodes.py and comfy_extras/nodes_custom_sampler.py: names of classes, inputs
Tests      tests/images/other_tools/test_comfyui.py
"""

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any

from labml_sd.images.json_text import json_object
from labml_sd.images.other_tools.written import Written, listed, model_name, size, text, titled

_NUMBERS = {
    "steps": "Steps",
    "sampler_name": "Sampler",
    "scheduler": "Schedule type",
    "cfg": "CFG scale",
    "seed": "Seed",
    "noise_seed": "Seed",
    "denoise": "Denoising strength",
}
_TEXTS = ("text", "text_g", "text_l", "prompt", "string", "value")
_CONSTANTS = ("value", "int", "float", "string", "text", "seed", "Value")
_MASKED = ("SetLatentNoiseMask", "VAEEncodeForInpaint", "InpaintModelConditioning")
_NOT_TEXT = {"clip", "model", "vae", "image", "mask", "control_net"}
MAX_NODES = 2_000  # of a graph that is read; large ones have some hundred
_MAX_HOPS = 10  # from an input to the node that holds its value


def read(texts: Mapping[str, str]) -> Written | None:
    """Read the graph; None where there is none, or none that samples.

    Of several samplers one behind the other, the first to run is taken.
    """
    graph = _Graph(json_object(texts.get("prompt")))
    samplers = [node for node in graph.upstream(*graph.ends()) if graph.is_sampler(node)]
    if not samplers:
        return None
    sampler = samplers[-1]  # the farthest from the ends
    numbers = titled({name: graph.near(sampler, name) for name in _NUMBERS}, _NUMBERS)
    above = list(graph.upstream(sampler))
    start = graph.links(sampler).get("latent_image")
    latent = list(graph.upstream(start)) if start else []
    task = _task({graph.classes[node] for node in latent})
    if task == "txt2img" and numbers.get("Denoising strength") in ("1", "1.0"):
        del numbers["Denoising strength"]
    return Written(
        tool="ComfyUI",
        prompt=graph.prompt(sampler, "positive") or graph.prompt(sampler, "conditioning"),
        negative_prompt=graph.prompt(sampler, "negative"),
        task=task,
        entries=numbers
        | {"RNG": "CPU"}
        | _size(graph, latent)
        | _schedule(graph, sampler)
        | _models(graph, above)
        | ({"Further samplers": str(len(samplers) - 1)} if len(samplers) > 1 else {}),
    )


class _Graph:
    """Nodes by their ids. Every walk visits a node once: a graph may run in a circle."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.inputs: dict[str, dict[str, Any]] = {}
        self.classes: dict[str, str] = {}
        for node, value in nodes.items() if len(nodes) <= MAX_NODES else ():
            if isinstance(value, dict) and isinstance(value.get("inputs"), dict):
                self.inputs[node] = value["inputs"]
                self.classes[node] = text(value.get("class_type"))

    def links(self, node: str) -> dict[str, str]:
        """The nodes that the inputs of one come from."""
        found = {name: self.target(value) for name, value in self.inputs[node].items()}
        return {name: target for name, target in found.items() if target is not None}

    def target(self, value: object) -> str | None:
        """The node of a link, which is [node, number of its output]; None for another value."""
        if isinstance(value, list) and len(value) == 2:
            node = text(value[0])
            return node if node in self.inputs else None
        return None

    def ends(self) -> list[str]:
        """The nodes that no other takes anything from."""
        taken = {target for node in self.inputs for target in self.links(node).values()}
        return [node for node in self.inputs if node not in taken] or list(self.inputs)

    def upstream(self, *nodes: str) -> Iterator[str]:
        """These nodes and all that they come from, the nearest first."""
        waiting = list(dict.fromkeys(nodes))
        seen = set(waiting)
        for node in waiting:  # it grows meanwhile
            yield node
            new = [target for target in self.links(node).values() if target not in seen]
            waiting += dict.fromkeys(new)
            seen.update(new)

    def is_sampler(self, node: str) -> bool:
        """Whether a node denoises a latent."""
        return "Sampler" in self.classes[node] and "latent_image" in self.inputs[node]

    def value(self, node: str, name: str, kinds: type | UnionType = str | int | float) -> str:
        """An input as a text. If it is a link, what the nodes behind it hold."""
        value = self.inputs[node].get(name)
        for _ in range(_MAX_HOPS):
            target = self.target(value)
            if target is None:
                break
            held = (self.inputs[target].get(each) for each in (name, *_CONSTANTS))
            value = next((v for v in held if isinstance(v, kinds | list)), None)
        return text(value) if isinstance(value, kinds) else ""

    def near(self, node: str, name: str) -> str:
        """An input of a node, or else of one that it links to: schedules can be nodes."""
        nodes = (node, *self.links(node).values())
        return next((found for n in nodes if (found := self.value(n, name))), "")

    def prompt(self, sampler: str, side: str) -> str:
        """The texts that reach a sampler as its "positive" or "negative" input."""
        nodes = (sampler, *self.links(sampler).values())
        start = next((self.links(n)[side] for n in nodes if side in self.links(n)), None)
        found: list[str] = []
        waiting, seen = [start] if start else [], {start}
        for node in waiting:
            if self.classes[node] == "ConditioningZeroOut":
                continue
            names = [side] if side in self.inputs[node] else _TEXTS
            here = [each for name in names if (each := self.value(node, name, str))]
            found += here
            if not here:
                links = self.links(node)
                ahead = {side} if side in links else links.keys() - _NOT_TEXT
                new = dict.fromkeys(links[name] for name in links if name in ahead)
                waiting += [target for target in new if target not in seen]
                seen.update(new)
        return "\n".join(dict.fromkeys(found))


def _task(classes: set[str]) -> str:
    """What the classes of the nodes that make the first latent say of it."""
    if not any("LoadImage" in name for name in classes):
        return "txt2img"
    return "inpaint" if classes.intersection(_MASKED) else "img2img"


def _schedule(graph: _Graph, sampler: str) -> dict[str, str]:
    """The schedule of a node that is one by itself: "KarrasScheduler"."""
    found = graph.classes.get(graph.links(sampler).get("sigmas", ""), "")
    name = found.removesuffix("Scheduler")
    return {"Schedule type": name} if name not in (found, "Basic") else {}


def _size(graph: _Graph, latent: list[str]) -> dict[str, str]:
    """The size of the empty latent that a sampler starts from."""
    found = (size(graph.value(node, "width"), graph.value(node, "height")) for node in latent)
    return next(filter(None, found), {})


def _models(graph: _Graph, nodes: list[str]) -> dict[str, str]:
    """The files that the nodes load, and the layer of the text encoder that is the last."""

    def all_of(name: str) -> list[str]:
        return [found for node in nodes if (found := graph.value(node, name))]

    checkpoints = [*all_of("ckpt_name"), *all_of("unet_name")]
    loras = [
        f"{graph.value(node, 'lora_name')}: {graph.value(node, 'strength_model')}"
        for node in nodes
        if graph.value(node, "lora_name")
    ]
    return (
        model_name(checkpoints[0] if checkpoints else "")
        | listed("Lora", loras)
        | listed("ControlNet", all_of("control_net_name"))
        | listed("VAE", all_of("vae_name"))
        | listed("Clip skip", [layer.lstrip("-") for layer in all_of("stop_at_clip_layer")[:1]])
    )
