r"""The entries of a picture's text -> settings, and what is left of them.

Maps       entries such as "Steps" and "Schedule type" -> settings; entries that none stands for
Reference  AUTOMATIC1111's web UI: what its entries mean, and what it does where one is missing
Tests      tests/pipeline/test_entries.py
"""

import re
from typing import Any

from labml_sd.images.other_tools.written import Written
from labml_sd.pipeline.sampler_names import AUTOMATIC, sampler_and_spacing, spacing_of
from labml_sd.sampler import TOOLS
from labml_sd.settings import Setting, described

# What describes the picture or the run without changing it, or is a setting elsewhere.
_NO_SETTING = {
    *("Size", "Model", "Model hash", "Version", "Denoising strength", "Schedule type", "RNG"),
    *("Batch size", "Batch pos", "Created Date", "Civitai resources", "Civitai metadata"),
    *("User", "Time taken", "Hashes", "App", "Backend", "Template", "Negative Template"),
    *("Downcast alphas_cumprod", "Image hash", "Init image hash", "Workflow"),
}
_NO_CHANGE = {("ENSD", "0"), ("Denoising strength", "0")}


def settings_of(written: Written) -> dict[str, Any]:
    """The settings that are known, by name. A sampler without a name of ours keeps its own."""
    entries = written.entries
    settings: dict[str, Any] = {
        name: joined([_word(about, entries.get(key)) for key in about.text_keys])
        for name, about in described().items()
    }
    settings |= {"negative_prompt": written.negative_prompt}
    if size := re.fullmatch(r"(\d{1,9})x(\d{1,9})", entries.get("Size", "")):
        settings |= {"width": int(size[1]), "height": int(size[2])}
    if written.tool != "labml_sd":
        settings |= _as_the_tool_ran(written)
    return {name: value for name, value in settings.items() if value is not None}


def _as_the_tool_ran(written: Written) -> dict[str, Any]:
    """Sampler, noise levels and noise."""
    entries = written.entries
    title = entries.get("Sampler")
    sampler, spacing = sampler_and_spacing(title or "")
    spacing = spacing_of(entries.get("Schedule type", "")) or spacing
    rng = {"CPU": "cpu", "NV": "cuda", "GPU": "cuda"}.get(entries.get("RNG", ""))
    found = {"sampler": sampler or title, "spacing": spacing, "noise": rng}
    preset = TOOLS["a1111"].get(sampler or "")
    if written.tool == "ComfyUI":
        found["emphasis"] = "comfy"
    if written.tool != "A1111" or preset is None:
        return found
    if "Schedule type" not in entries:  # before version 1.9
        spacing = spacing or "linspace"
    if spacing is not None and preset.spacings and spacing not in preset.spacings:
        return found
    # DDIM, PLMS and UniPC have one list of levels, whatever the schedule type.
    spacing = spacing if preset.spacings else None
    return {**found, "spacing": spacing, "compat": "a1111", "noise": rng or "cuda"}


def unused_entries(written: Written) -> dict[str, str]:
    """The entries that may change the picture and that no setting stands for."""
    entries = written.entries
    known = {key for about in described().values() for key in about.text_keys} | _NO_SETTING
    left = {key: value for key, value in entries.items() if key not in known}
    schedule = entries.get("Schedule type", AUTOMATIC)
    if schedule.lower() != AUTOMATIC and spacing_of(schedule) is None:
        left["Schedule type"] = schedule
    if written.tool == "labml_sd":  # fields of `GenerationParameters`
        own = ("VAE", "VAE hash", "TI hashes")
        left = {key: value for key, value in left.items() if key not in own}
    if written.task == "txt2img" and "Denoising strength" in entries:
        left["Denoising strength"] = entries["Denoising strength"]
    return {key: value for key, value in left.items() if (key, value) not in _NO_CHANGE}


def number(kind: type[Any], text: str | None) -> Any:
    """A number of a text; None for one in another form, as unknown as a missing one."""
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None


def _word(about: Setting, text: str | None) -> Any:
    """A value as the web UI writes it."""
    names = {title: name for name, title in about.titles.items()}
    if text in names:
        return names[text]
    return None if about.only_titles else number(about.kind.word, text)


def spread(keys: tuple[str, ...], value: object) -> dict[str, object]:
    """A value under its key. Several keys share the items of a tuple."""
    if len(keys) > 1:
        items = value if isinstance(value, tuple) else (None,) * len(keys)
        return dict(zip(keys, items, strict=True))
    return dict.fromkeys(keys, value)


def joined(items: list[Any]) -> Any:
    """The inverse of `spread`: None if an item is missing, or if there are none."""
    if not items or None in items:
        return None
    return items[0] if len(items) == 1 else tuple(items)
