r"""The text that web UIs write into a picture and show.

It is the prompt, the negative prompt, and a line of `key: value` entries.

Maps       prompt, negative prompt, entries <-> one text
Reference  the `parameters` text of AUTOMATIC1111's web UI: its lines and its quoting
Tests      tests/images/test_parameters.py
"""

import json
import re
from collections.abc import Mapping

_NEGATIVE = "Negative prompt:"
# A key starts at a word's start and is short: a long prompt is searched once.
_ENTRY = re.compile(r'(?<![\w\-/])(\w[\w \-/]{1,40}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def write_text(prompt: str, negative_prompt: str, entries: Mapping[str, object]) -> str:
    """The text that web UIs show: prompt, negative prompt, and one line of entries."""
    lines = [prompt]
    if negative_prompt:
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    lines.append(write_entries(entries))
    # Half of a surrogate pair cannot be written as UTF-8.
    return "\n".join(lines).encode("utf-8", "replace").decode("utf-8")


def write_entries(entries: Mapping[str, object]) -> str:
    """The line of entries."""
    return ", ".join(f"{key}: {_quoted(value)}" for key, value in entries.items())


def read_text(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt and entries of the text of a web UI, as far as it can be read.

    The line of entries is the last that begins with "Steps:", since extensions add lines behind
    it, or else the last of all. One of fewer than three entries belongs to the prompt.
    """
    lines = text.strip().split("\n")
    at = _line_of_entries(lines)
    body, found = lines[:at], _ENTRY.findall("".join(lines[at : at + 1]))
    begin = next((i for i, line in enumerate(body) if line.startswith(_NEGATIVE)), len(body))
    negative = "\n".join(body[begin:]).removeprefix(_NEGATIVE).strip()
    entries = {key: _unquoted(value.strip()) for key, value in found}
    return "\n".join(body[:begin]).strip(), negative, entries


def _line_of_entries(lines: list[str]) -> int:
    """Its number; that of no line where there is none."""
    begun = [i for i, line in enumerate(lines) if line.startswith("Steps:")]
    for i in (*reversed(begun), len(lines) - 1):
        if len(_ENTRY.findall(lines[i])) >= 3:
            return i
    return len(lines)


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
