import pytest

from labml_sd import errors
from labml_sd.errors import LabmlSdError, one_line

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize(
    "text", ["a red house", "дом 雪 🏠", 'she said "no"', "back\\slash", ""]
)
def test_printable_text_is_not_changed(text):
    assert one_line(text) == text


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a\nb", r"a\nb"),
        ("a\r\x1b[2J", r"a\r\x1b[2J"),
        ("\x00\x9b", r"\x00\x9b"),
        ("\u202eabc", r"\u202eabc"),
        ("\ud800", r"\ud800"),
    ],
    ids=[
        "a line break",
        "a terminal code",
        "NUL and C1",
        "right to left",
        "half a surrogate pair",
    ],
)
def test_what_is_not_printable_is_escaped(text, shown):
    assert one_line(text) == shown


@pytest.mark.parametrize("kind", KINDS)
def test_the_message_of_every_error_is_one_printable_line(kind):
    assert issubclass(kind, LabmlSdError)
    assert str(kind("a\nname\x1b[2J: is wrong")) == r"a\nname\x1b[2J: is wrong"
