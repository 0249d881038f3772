r"""What other programs write into their pictures, brought into one form.

Each file reads the texts of one program, as `images.texts` finds them, and answers in the words
of the web UI's text: prompt, negative prompt, and entries such as "Steps". Such a text is from
a stranger: what has another form than expected is left out, and no text takes long.

written     the form, and the order in which programs are tried
a1111       AUTOMATIC1111's web UI, and all that write its text; this package's too
comfyui     ComfyUI: a graph of nodes
fooocus     Fooocus, and SwarmUI: one JSON object
invokeai    InvokeAI: one JSON object; older versions in two other forms
novelai     NovelAI: a JSON object as comment
"""

from collections.abc import Mapping

from labml_sd.images.other_tools import a1111, comfyui, fooocus, invokeai, novelai
from labml_sd.images.other_tools.written import Written

__all__ = ["Written", "read_written"]


def read_written(texts: Mapping[str, str]) -> Written | None:
    """What the texts of a picture say it was made from; None where no program is recognised.

    A picture of ComfyUI can hold the web UI's text as well, which is then read.
    """
    for program in (fooocus, a1111, invokeai, novelai, comfyui):
        if (written := program.read(texts)) is not None:
            return written
    return None
