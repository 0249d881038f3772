r"""JSON from a picture that anybody may have made: no file takes long, or ends the program.

Maps       a text -> a dict; an empty one for what is not a JSON object
Tests      tests/images/test_json_text.py
"""

import json
from typing import Any

MAX_JSON = 2**22  # characters: the worst of them are read in a second, into 100 MB


def json_object(text: str | None) -> dict[str, Any]:
    """The JSON object of a text; {} where there is none, or one of more than `MAX_JSON`."""
    if text is None or len(text) > MAX_JSON:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # damaged, a number of 5000 digits, or nested deep
        return {}
    return found if isinstance(found, dict) else {}


def texts_in(values: dict[str, Any]) -> dict[str, str]:
    """The entries of an object that are texts."""
    return {key: value for key, value in values.items() if isinstance(value, str)}
