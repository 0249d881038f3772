import random

import pytest

from labml_sd.text_encoder.prompt_schedule import (
    Alternation,
    Edit,
    changes,
    parse_schedule,
    text_at,
)


def schedule(prompt, n_steps=10):
    """(last step, text) as AUTOMATIC1111 lists them: equal neighbours are one."""
    nodes = parse_schedule(prompt)
    found = []
    for step in range(1, n_steps + 1):
        text = text_at(nodes, step, n_steps)
        if found and found[-1][1] == text:
            found.pop()
        found.append((step, text))
    return found


# What AUTOMATIC1111's documentation says of runs with 10 steps.
DOCUMENTED = [
    ("test", [(10, "test")]),
    ("a [b:3]", [(3, "a "), (10, "a b")]),
    ("a [b: 3]", [(3, "a "), (10, "a b")]),
    ("a [[[b]]:2]", [(2, "a "), (10, "a [[b]]")]),
    ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
    ("a [b : c : 1] d", [(1, "a b  d"), (10, "a  c  d")]),
    ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
    ("a [unbalanced", [(10, "a [unbalanced")]),
    ("a [b:.5] c", [(5, "a  c"), (10, "a b c")]),
    ("a [{b|d{:.5] c", [(5, "a  c"), (10, "a {b|d{ c")]),
    ("((a][:b:c [d:3]", [(3, "((a][:b:c "), (10, "((a][:b:c d")]),
    ("[a|(b:1.1)]", [(i, "(b:1.1)" if i % 2 == 0 else "a") for i in range(1, 11)]),
    ("[fe|]male", [(i, "male" if i % 2 == 0 else "female") for i in range(1, 11)]),
    (
        "[fe|||]male",
        [(1, "female"), (4, "male"), (5, "female"), (8, "male"), (9, "female"), (10, "male")],
    ),
]
EDITS = [
    ("[a:b:0.5]", [(5, "a"), (10, "b")]),
    ("[a:b:0.55]", [(5, "a"), (10, "b")]),
    ("[a:b:5]", [(5, "a"), (10, "b")]),
    ("[a::4]", [(4, "a"), (10, "")]),
    ("[:b:4]", [(4, ""), (10, "b")]),
    ("[:4]", [(10, "")]),
    ("[::4]", [(10, "")]),
    ("[a:b:0]", [(10, "b")]),
    ("[a:b:0.0]", [(10, "b")]),
    ("[a:b:-1]", [(10, "b")]),
    ("[a:b:+4]", [(4, "a"), (10, "b")]),
    ("[a:b:1.0]", [(10, "a")]),
    ("[a:b:10]", [(10, "a")]),
    ("[a:b:99]", [(10, "a")]),
    ("[a:b:1e1]", [(10, "a")]),
    ("[a:b: 4 ]", [(4, "a"), (10, "b")]),
    ("[a b:c d:4]", [(4, "a b"), (10, "c d")]),
    ("[a:b:4][c:d:6]", [(4, "ac"), (6, "bc"), (10, "bd")]),
    ("[[a:b:2]:c:4]", [(2, "a"), (4, "b"), (10, "c")]),
    ("[a:[b|c]:8]", [(8, "a"), (9, "b"), (10, "c")]),
    ("(x [a:b:4] y)", [(4, "(x a y)"), (10, "(x b y)")]),
    ("([a:b:4]:1.3)", [(4, "(a:1.3)"), (10, "(b:1.3)")]),
    ("[(a:1.2):(b:0.8):4]", [(4, "(a:1.2)"), (10, "(b:0.8)")]),
    ("[a\\:b:c:4]", [(4, "a\\:b"), (10, "c")]),
    ("[a\\]:b:4]", [(4, "a\\]"), (10, "b")]),
]
ALTERNATIONS = [
    ("[a|b]", ["a", "b", "a"]),
    ("[a|b|c]", ["a", "b", "c", "a"]),
    ("[|a]", ["", "a", ""]),
    ("[|]", ["", ""]),
    ("[(cat:1.1)|(dog:0.9)]", ["(cat:1.1)", "(dog:0.9)", "(cat:1.1)"]),
    ("[a|[b|c]]", ["a", "c", "a", "c"]),
    ("[a b|c d] e", ["a b e", "c d e"]),
    ("[x|y][1|2|3]", ["x1", "y2", "x3", "y1"]),
    ("[a\\|b|c]", ["a\\|b", "c"]),
]
TEXT = [
    *(
        "",
        " ",
        "a",
        "[a]",
        "[[a]]",
        "[a b]",
        "a:b",
        "a|b",
        "(a|b)",
        "(a:b)",
        "[",
        "]",
        "(",
        ")",
    ),
    *("[a:b]", "[a:b:c]", "[a:b:c:4]", "[a|b:c]", "[a:b|c]", "[a", "a]", "[a:4", "a:4]", "[4]"),
    *(
        "[a:4)",
        "(a:4]",
        "[(a:4]",
        "[a):4]",
        "[(a:b:4]",
        "\\[a:b:4\\]",
        "\\",
        "[\\",
        "a\\",
        "[]",
    ),
    *("[a:1.2.3]", "[a:.]", "[a:four]", "[a:4x]", "[a:0x4]", "[a:nan]", "[a:inf]", "[a:b:]"),
    *(
        "([a:b:4)]",
        ")(",
        "][",
        "[(])",
        "((a)",
        "[[a]",
        "[a]]",
        "{a|b}",
        "<a:b>",
        ":",
        "|",
        "::",
    ),
]


@pytest.mark.parametrize(("prompt", "expected"), DOCUMENTED + EDITS)
def test_an_edit_holds_as_documented(prompt, expected):
    assert schedule(prompt) == expected


@pytest.mark.parametrize(("prompt", "expected"), ALTERNATIONS)
def test_an_alternation_takes_the_next_item_at_each_step(prompt, expected):
    nodes = parse_schedule(prompt)
    n = len(expected)
    assert [text_at(nodes, step, n) for step in range(1, n + 1)] == expected


@pytest.mark.parametrize("prompt", TEXT)
def test_all_else_is_text(prompt):
    nodes = parse_schedule(prompt)
    assert not changes(nodes)
    assert nodes == ((prompt,) if prompt else ())


def test_the_tree_can_be_read():
    assert parse_schedule("a [b:[c|d]:0.5] (e)") == (
        "a ",
        Edit(("b",), (Alternation((("c",), ("d",))),), "0.5"),
        " (e)",
    )


def test_a_share_of_the_steps_follows_their_number():
    nodes = parse_schedule("[a:b:0.25]")
    for n_steps, last in ((4, 1), (8, 2), (10, 2), (1, 0)):
        held = [text_at(nodes, step, n_steps) for step in range(1, n_steps + 1)]
        assert held == ["a"] * last + ["b"] * (n_steps - last)


@pytest.mark.parametrize(
    "prompt",
    [
        *("[" * 5_000, "]" * 5_000, "[" * 5_000 + "]" * 5_000, "([" * 3_000, "[|" * 3_000),
        "[" * 5_000 + "a" + ":1]" * 5_000,
        "[a:" * 5_000 + "b" + ":2]" * 5_000,
        "[a|" * 5_000 + "b" + "]" * 5_000,
        "[a:b:0.5]" * 1_000,
    ],
)
def test_deep_and_long_prompts_are_read_in_one_pass(prompt):
    nodes = parse_schedule(prompt)
    # Step 2 of 2 is the last: no text is longer than what was written.
    assert len(text_at(nodes, 2, 2)) <= len(prompt)


def test_any_text_can_be_read():
    rng = random.Random(0)
    for _ in range(2_000):
        prompt = "".join(rng.choices("ab [](:|)\\.5", k=rng.randrange(30)))
        nodes = parse_schedule(prompt)
        assert len(text_at(nodes, 1, 2)) <= len(prompt)
        if not changes(nodes):
            assert text_at(nodes, 1, 2) == prompt
