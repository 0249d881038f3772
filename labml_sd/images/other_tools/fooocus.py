r"""Fooocus and SwarmUI: one JSON object where the web UI writes its text.

Maps       {"parameters": JSON} -> prompt, negative prompt, entries
Reference  Fooocus, modules/meta_parser.py; SwarmUI, docs/Image Metadata Format.md
Tests      tests/images/other_tools/test_fooocus.py
"""

import re
from collections.abc import Mapping
from typing import Any

from labml_sd.images.json_text import json_object
from labml_sd.images.other_tools.written import Written, listed, model_name, size, text, titled
from labml_sd.images.texts import TEXT_KEY

_FOOOCUS = {
    "steps": "Steps",
    "sampler": "Sampler",
    "scheduler": "Schedule type",
    "guidance_scale": "CFG scale",
    "seed": "Seed",
    "base_model_hash": "Model hash",
    "vae": "VAE",
    "clip_skip": "Clip skip",
    "styles": "Styles",
    "performance": "Performance",
    "sharpness": "Sharpness",
    "version": "Version",
}
_SWARM = {
    "steps": "Steps",
    "sampler": "Sampler",
    "scheduler": "Schedule type",
    "cfgscale": "CFG scale",
    "seed": "Seed",
    "variationseed": "Variation seed",
    "variationseedstrength": "Variation seed strength",
    "clipstopatlayer": "Clip skip",
    "vae": "VAE",
    "swarm_version": "Version",
}


def read(texts: Mapping[str, str]) -> Written | None:
    """Read the object of either program; None where there is none."""
    values = json_object(texts.get(TEXT_KEY))
    if isinstance(swarm := values.get("sui_image_params"), dict):
        return _swarm(swarm)
    if "metadata_scheme" in values or "fooocus_scheme" in texts:
        return _fooocus(values) if values else None
    return None


def _fooocus(values: Mapping[str, Any]) -> Written:
    resolution = re.findall(r"\d+", text(values.get("resolution")))
    loras = [text(value) for key, value in values.items() if key.startswith("lora_combined")]
    entries = titled(values, _FOOOCUS) | model_name(values.get("base_model"))
    if len(resolution) == 2:
        entries |= size(*resolution)
    return Written(
        tool="Fooocus",
        prompt=text(values.get("prompt")),
        negative_prompt=text(values.get("negative_prompt")),
        entries=entries | listed("Lora", loras),
    )


def _swarm(values: Mapping[str, Any]) -> Written:
    names = values.get("loras")
    loras = list(map(text, names)) if isinstance(names, list) else [text(names)]
    entries = titled(values, _SWARM) | model_name(values.get("model"))
    is_img2img = bool(text(values.get("initimage")) or text(values.get("initimagecreativity")))
    return Written(
        tool="SwarmUI",
        prompt=text(values.get("prompt")),
        negative_prompt=text(values.get("negativeprompt")),
        task="img2img" if is_img2img else "txt2img",
        entries=entries
        | size(values.get("width"), values.get("height"))
        | titled(values, {"initimagecreativity": "Denoising strength"})
        | listed("Lora", loras),
    )
