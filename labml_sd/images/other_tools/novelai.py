r"""NovelAI: the prompt as description, and a JSON object as comment.

Maps       {"Description": prompt, "Comment": JSON, "Software": "NovelAI"} -> prompt, entries
Reference  pictures of NovelAI: their PNG texts, and the same in the bits of the opacity
Tests      tests/images/other_tools/test_novelai.py
"""

from collections.abc import Mapping

from labml_sd.images.json_text import json_object
from labml_sd.images.other_tools.written import Written, size, text, titled

_TITLES = {
    "steps": "Steps",
    "sampler": "Sampler",
    "noise_schedule": "Schedule type",
    "scale": "CFG scale",
    "cfg_rescale": "Guidance rescale",
    "seed": "Seed",
    "uncond_scale": "Undesired content strength",
}
_TASKS = {"Img2ImgRequest": "img2img", "NativeInfillingRequest": "inpaint"}


def read(texts: Mapping[str, str]) -> Written | None:
    """Read the comment; None for a picture of another program."""
    values = json_object(texts.get("Comment"))
    if not texts.get("Software", "").startswith("NovelAI") or not values:
        return None
    task = _TASKS.get(text(values.get("request_type")), "txt2img")
    titles = _TITLES if task == "txt2img" else {**_TITLES, "strength": "Denoising strength"}
    return Written(
        tool="NovelAI",
        prompt=texts.get("Description") or text(values.get("prompt")),
        negative_prompt=text(values.get("uc")),
        task=task,
        entries=titled(values, titles)
        | size(values.get("width"), values.get("height"))
        | titled(texts, {"Source": "Model"})
        | ({"SMEA": "on"} if values.get("sm") is True else {}),
    )
