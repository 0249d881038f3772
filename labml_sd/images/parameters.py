r"""The two texts inside a picture file: one that other programs read, and one that is exact.

What they say is left to the caller: here are their places in PNG and EXIF, and the grammar of
the first: the prompt, the negative prompt, and a last line of `key: value` entries.

Maps       a PIL image <-> two texts; prompt, negative prompt, entries <-> the first text
Reference  the `parameters` text of AUTOMATIC1111's web UI: its lines and its quoting
Tests      tests/images/test_parameters.py
"""

import json
import re
from collections.abc import Mapping

from PIL import Image, PngImagePlugin

from labml_sd.images.reading import exif_value

TEXT_KEY = "parameters"  # the text that other programs look for
JSON_KEY = "labml_sd"  # the exact values
_IMAGE_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # tags of EXIF 2.32
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_NEGATIVE = "Negative prompt:"
# A key starts at a word's start and is short: a long prompt is searched once.
_ENTRY = re.compile(r'(?<![\w\-/])(\w[\w \-/]{1,40}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def write_text(prompt: str, negative_prompt: str, entries: Mapping[str, object]) -> str:
    """The text that web UIs show: prompt, negative prompt, and one line of entries."""
    lines = [prompt]
    if negative_prompt:
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in entries.items()))
    # Half of a surrogate pair cannot be written as UTF-8.
    return "\n".join(lines).encode("utf-8", "replace").decode("utf-8")


def read_text(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and entries of the text of a web UI, as far as it can be read.

    A last line of fewer than three entries belongs to the prompt.
    """
    *body, last = text.strip().split("\n")
    found = _ENTRY.findall(last)
    if len(found) < 3:
        body, found = [*body, last], []
    begin = next((i for i, line in enumerate(body) if line.startswith(_NEGATIVE)), len(body))
    negative = "\n".join(body[begin:]).removeprefix(_NEGATIVE).strip()
    entries = {key: _unquoted(value.strip()) for key, value in found}
    return "\n".join(body[:begin]).strip(), negative, entries


def _quoted(value: object) -> str:
    short = f"{value:g}" if isinstance(value, float) else ""
    text = short if short and float(short) == value else str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,\n:]", text) else text


def _unquoted(text: str) -> str:
    if not (len(text) > 1 and text[0] == text[-1] == '"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def with_texts(image: Image.Image, text: str, exact: str) -> Image.Image:
    """A copy of `image` with the two texts in its `.info`, where a reader would put them."""
    copy = image.copy()
    copy.info = {**image.info, TEXT_KEY: text, JSON_KEY: exact}
    return copy


def texts_of(image: Image.Image) -> tuple[str | None, str | None]:
    """(text, exact) of a picture, from PNG text or from EXIF; None for one that is missing."""
    text, exact = image.info.get(TEXT_KEY), image.info.get(JSON_KEY)
    if text is None and exact is None:
        comment = exif_value(image, _USER_COMMENT, _EXIF_IFD)
        if isinstance(comment, bytes) and comment.startswith(b"UNICODE\0"):
            text = comment[8:].decode("utf-16-be", "replace")
        if exif_value(image, _SOFTWARE) == "labml_sd":
            exact = exif_value(image, _IMAGE_DESCRIPTION)
    return (
        text if isinstance(text, str) else None,
        exact if isinstance(exact, str) else None,
    )


def png_text_of(image: Image.Image) -> PngImagePlugin.PngInfo:
    """PNG text chunks for the texts of `image`: Latin-1 where that is enough, else UTF-8."""
    chunks = PngImagePlugin.PngInfo()
    for key in (TEXT_KEY, JSON_KEY):
        if key in image.info:
            chunks.add_text(key, image.info[key])
    return chunks


def exif_of(image: Image.Image) -> bytes:
    """EXIF for the texts of `image`: the first as user comment, the exact as description."""
    if TEXT_KEY not in image.info:
        return b""
    exif = Image.Exif()
    comment = b"UNICODE\0" + image.info[TEXT_KEY].encode("utf-16-be")
    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = comment
    if JSON_KEY in image.info:  # it is missing where another program drew the picture
        exif[_SOFTWARE], exif[_IMAGE_DESCRIPTION] = "labml_sd", image.info[JSON_KEY]
    return exif.tobytes()
