import pytest

from labml_sd.checkpoint.printable import MAX_SHOWN, is_plain_name, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.input_blocks.0", "model.input_blocks.0"),
        ("Größe 3", "Größe 3"),
        ("a\nb\r\x1b[2J", r"a\nb\r\x1b[2J"),
        ("\u202etxt\ud800", r"\u202etxt\ud800"),
    ],
)
def test_what_is_no_printable_character_is_escaped(text, expected):
    assert shown(text) == expected


def test_a_long_text_is_cut():
    assert shown("x" * 10**6) == "x" * (MAX_SHOWN - 3) + "..."
    assert len(shown("\n" * 10**6)) == MAX_SHOWN


@pytest.mark.parametrize(
    ("name", "plain"),
    [("a.b", True), ("Größe 3", True), ("a\nb", False), ("a\ud800", False), ("a" * 501, False)],
)
def test_names_that_can_be_shown(name, plain):
    assert is_plain_name(name) is plain
