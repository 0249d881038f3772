r"""InvokeAI, in the three forms of its versions.

Maps       {"invokeai_metadata": JSON}, or {"sd-metadata": JSON}, or {"Dream": a command line}
           -> prompt, negative prompt, entries
Reference  InvokeAI, invokeai/app/invocations/metadata.py of version 3 and later;
           ldm/invoke/args.py of versions 1 and 2
Tests      tests/images/other_tools/test_invokeai.py
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from labml_sd.images.json_text import json_object
from labml_sd.images.other_tools.written import Written, listed, model_name, size, text, titled

_TITLES = {
    "steps": "Steps",
    "scheduler": "Sampler",
    "sampler": "Sampler",
    "cfg_scale": "CFG scale",
    "cfg_rescale_multiplier": "Guidance rescale",
    "seed": "Seed",
    "clip_skip": "Clip skip",
    "model_hash": "Model hash",
    "app_version": "Version",
    "strength": "Denoising strength",
}
_FLAGS = {  # of the command line
    "s": "Steps",
    "A": "Sampler",
    "C": "CFG scale",
    "S": "Seed",
    "f": "Denoising strength",
}
_NEGATIVE = re.compile(r"\[([^\[\]]*)\]")


def read(texts: Mapping[str, str]) -> Written | None:
    """Read the newest form that there is; None where there is none."""
    if values := json_object(texts.get("invokeai_metadata")):
        return _graph(values)
    if values := json_object(texts.get("sd-metadata")):
        return _before_3(values)
    if "Dream" in texts:
        return _command(texts["Dream"])
    return None


def _graph(values: Mapping[str, Any]) -> Written:
    """Version 3 and later."""
    mode = text(values.get("generation_mode"))  # "txt2img", "img2img", "sdxl_inpaint" ...
    task = next((t for t in ("img2img", "inpaint") if t in mode), "txt2img")
    model = _object(values.get("model"))
    return Written(
        tool="InvokeAI",
        prompt=text(values.get("positive_prompt")),
        negative_prompt=text(values.get("negative_prompt")),
        task=task,
        entries=titled(values, _TITLES)
        | listed("RNG", [text(values.get("rand_device")).upper()])
        | size(values.get("width"), values.get("height"))
        | model_name(model.get("name") or model.get("model_name"))
        | listed("Lora", list(_names(values.get("loras"), "lora")))
        | listed("ControlNet", list(_names(values.get("controlnets"), "control_model"))),
    )


def _before_3(values: Mapping[str, Any]) -> Written:
    image = _object(values.get("image"))
    parts = image.get("prompt")
    if isinstance(parts, list):  # prompts with weights
        parts = " ".join(text(_object(part).get("prompt")) for part in parts)
    task = "img2img" if image.get("type") == "img2img" else "txt2img"
    prompt, negative_prompt = _divided(text(parts))
    return Written(
        tool="InvokeAI",
        prompt=prompt,
        negative_prompt=negative_prompt,
        task=task,
        entries=titled(image, _TITLES)
        | titled(values, {"model_hash": "Model hash", "app_version": "Version"})
        | size(image.get("width"), image.get("height"))
        | model_name(values.get("model_weights")),
    )


def _command(dream: str) -> Written | None:
    """A prompt in quotes, then flags: `"a house" -s 50 -S 1 -W 512 -H 512 -C 7.5 -A k_lms`."""
    parts = re.fullmatch(r'\s*"(.*)"([^"]*)', dream, re.DOTALL)
    if parts is None:
        return None
    flags = dict(re.findall(r"(?<!\S)-([A-Za-z])\s*([^\s-]\S*)", parts[2]))
    prompt, negative_prompt = _divided(parts[1])
    return Written(
        tool="InvokeAI",
        prompt=prompt,
        negative_prompt=negative_prompt,
        task="img2img" if "I" in flags else "txt2img",
        entries=titled(flags, _FLAGS) | size(flags.get("W"), flags.get("H")),
    )


def _divided(prompt: str) -> tuple[str, str]:
    """Prompt and negative prompt, which these versions write in square brackets inside it."""
    return _NEGATIVE.sub("", prompt).strip(), ", ".join(_NEGATIVE.findall(prompt))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _names(items: object, inside: str) -> Iterator[str]:
    """The names of the models of a list, with their weights."""
    for item in map(_object, items if isinstance(items, list) else []):
        model = _object(item.get("model") or item.get(inside))
        name = text(model.get("name")) or text(model.get("model_name"))
        weight = text(item.get("weight")) or text(item.get("control_weight"))
        yield f"{name}: {weight}" if name and weight else name
