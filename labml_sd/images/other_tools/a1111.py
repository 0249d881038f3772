r"""The text of AUTOMATIC1111's web UI, which many programs write; this package too.

Maps       {"parameters": text} -> prompt, negative prompt, entries
Reference  AUTOMATIC1111's web UI, modules/infotext_utils.py: the entries of its versions
Tests      tests/images/other_tools/test_a1111.py
"""

import re
from collections.abc import Mapping

from labml_sd.images.other_tools.written import Written
from labml_sd.images.parameters import read_text
from labml_sd.images.texts import TEXT_KEY

NAME = "A1111"
_INPAINT = {"Mask blur", "Mask mode", "Masked content", "Inpaint area", "Masked area padding"}
_IMG2IMG = {"Init image hash", "Img2Img Upscale", "Resize mode"}


def read(texts: Mapping[str, str]) -> Written | None:
    """Read the text; None where there is none.

    "Denoising strength" does not make it an img2img: txt2img with the hires fix has it too, and
    the HTTP interface writes it always.
    """
    if TEXT_KEY not in texts:
        return None
    prompt, negative_prompt, entries = read_text(texts[TEXT_KEY])
    tool = _tool(entries.get("Version", ""))
    task = "txt2img"
    if tool == "labml_sd":
        task = "img2img" if "Denoising strength" in entries else "txt2img"
    elif _INPAINT & entries.keys():
        task = "inpaint"
    elif _IMG2IMG & entries.keys():
        task = "img2img"
    return Written(
        tool=tool, prompt=prompt, negative_prompt=negative_prompt, task=task, entries=entries
    )


def _tool(version: str) -> str:
    """The program named in "Version": "Fooocus v2.5.5". A bare number is the web UI's."""
    name = re.match(r"[A-Za-z]\w+", version)
    is_number = re.match(r"[a-z]?\d", version) is not None
    return name[0] if name and not is_number else NAME
