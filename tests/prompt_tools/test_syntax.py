"""The syntax of templates: choices, counts, weights, escapes, and what stays text."""

import pytest

from labml_sd.errors import PromptError
from labml_sd.prompt_tools.syntax import ALL, Choice, Option, Wildcard, parse_template


def plain(part):
    """A part in nested tuples and lists, which compare by value."""
    if isinstance(part, Choice):
        head = (part.low, part.high, part.separator)
        return [plain(option) for option in part.options], head
    if isinstance(part, Option):
        parts = [plain(each) for each in part.parts]
        return parts if part.weight == 1 else (part.weight, parts)
    return part


def read(text):
    return [plain(part) for part in parse_template(text)]


def one(*texts):
    return [[text] if text else [] for text in texts], (1, 1, ", ")


def test_a_choice_of_options():
    assert read("a {red|blue} house") == ["a ", one("red", "blue"), " house"]


def test_an_option_may_be_empty_and_spaces_belong_to_it():
    assert read("{ big |}") == [one(" big ", "")]
    assert read("{}") == [one("")]


def test_choices_nest():
    assert read("{a|{b|c}d}") == [([["a"], [one("b", "c"), "d"]], (1, 1, ", "))]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("2$$", (2, 2, ", ")),
        (" 2$$", (2, 2, ", ")),
        ("1-2$$", (1, 2, ", ")),
        ("3-1$$", (1, 3, ", ")),
        ("-2$$", (1, 2, ", ")),
        ("1-$$", (1, ALL, ", ")),
        ("0-1$$", (0, 1, ", ")),
        ("2$$ and $$", (2, 2, " and ")),
        ("1-2$$$$", (1, 2, "")),
        (r"2$$\|$$", (2, 2, "|")),
    ],
)
def test_how_many_options_and_what_stands_between(head, expected):
    assert read("{" + head + "a|b}") == [([["a"], ["b"]], expected)]


@pytest.mark.parametrize("text", ["{$$a|b}", "{x2$$a|b}", "{2$a|b}", "{1.5$$a|b}"])
def test_what_is_no_count_is_text(text):
    first = text[1:].partition("|")[0]
    assert read(text) == [one(first, "b")]


def test_weights():
    assert read("{0.5::a|.25::b|3::c|d}") == [
        ([(0.5, ["a"]), (0.25, ["b"]), (3.0, ["c"]), ["d"]], (1, 1, ", "))
    ]
    assert read("{2$$0.5::a|b}") == [([(0.5, ["a"]), ["b"]], (2, 2, ", "))]


@pytest.mark.parametrize("text", ["-1::a", "x::a", "1e3::a", "1:a", "nan::a"])
def test_what_is_no_weight_is_text(text):
    assert read("{" + text + "|b}") == [one(text, "b")]


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "",
        "a|b",
        "{",
        "}",
        "}{",
        "a { b",
        "(a:1.2), [b], [c:d:0.5], [e|f] AND g BREAK <lora:x:0.8>",
        r"\(x\) \[y\] \| a\\b",
        "snake__case__name",
        "<lora:my__style__v2:0.8>",
        "___",
        "____",
        "__ a __",
        "\\",
        "{[a|b]",
    ],
)
def test_everything_else_is_text(text):
    assert read(text) == ([text] if text else [])


def test_escapes():
    assert read(r"\{a|b\}") == ["{a|b}"]
    assert read(r"{\{a\}|b\|c}") == [one("{a}", "b|c")]
    assert read(r"\__a__") == ["__a__"]
    assert read(r"\\{a|b}") == ["\\\\", one("a", "b")]


def test_a_brace_without_partner_inside_another():
    assert read("{a|{b}") == ["{a|", one("b")]
    assert read("{a|b}}") == [one("a", "b"), "}"]


def test_alternations_and_edits_stay_whole_inside_braces():
    assert read("{[a|b]|c}") == [one("[a|b]", "c")]
    assert read("{[a|[b|c]]|[d:e:0.5]}") == [one("[a|[b|c]]", "[d:e:0.5]")]
    assert read("{[{a|b}|c]|d}") == [([["[", one("a", "b"), "|c]"], ["d"]], (1, 1, ", "))]
    assert read("{[a|b}]") == [one("[a", "b"), "]"]
    assert read("{a]|b}") == [one("a]", "b")]
    assert read("{(a|b)}") == [one("(a", "b)")]


def test_wildcards():
    assert read("a __colour__ __toys/car-1__s") == [
        "a ",
        Wildcard("colour"),
        " ",
        Wildcard("toys/car-1"),
        "s",
    ]
    assert read("__north_america__ __c*__ __*__") == [
        *(Wildcard("north_america"), " ", Wildcard("c*"), " ", Wildcard("*"))
    ]
    assert read("<lora:__styles__:0.8>") == ["<lora:", Wildcard("styles"), ":0.8>"]


def test_braces_are_nested_64_deep_at_most():
    deep = "{" * 64 + "a" + "}" * 64
    assert len(read(deep)) == 1
    with pytest.raises(PromptError, match="nested more than 64 deep"):
        read("{" + deep + "}")
    assert read("{" * 5000) == ["{" * 5000]
