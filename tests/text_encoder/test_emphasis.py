import random
import re

import pytest
import torch

from labml_sd.text_encoder.emphasis import apply_weights, weighted, weighted_as_comfy

# What AUTOMATIC1111's documentation says; the numbers are exact.
DOCUMENTED = [
    ("normal text", [("normal text", 1.0)]),
    ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
    ("(unbalanced", [("unbalanced", 1.1)]),
    (r"\(literal\]", [("(literal]", 1.0)]),
    ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
    (
        "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
        [
            ("a ", 1.0),
            ("house", 1.5730000000000004),
            (" ", 1.1),
            ("on", 1.0),
            (" a ", 1.1),
            ("hill", 0.55),
            (", sun, ", 1.1),
            ("sky", 1.4641000000000006),
            (".", 1.1),
        ],
    ),
]
CASES = [
    ("", [("", 1.0)]),
    (" ", [(" ", 1.0)]),
    ("()", [("", 1.0)]),
    ("(a)", [("a", 1.1)]),
    ("((a))", [("a", 1.1 * 1.1)]),
    ("[a]", [("a", 1 / 1.1)]),
    ("[[a]]", [("a", 1 / 1.1 / 1.1)]),
    ("([a])", [("a", 1 / 1.1 * 1.1)]),
    ("(a:1.3)", [("a", 1.3)]),
    ("(a: 1.3 )", [("a", 1.3)]),
    ("(a:.5)", [("a", 0.5)]),
    ("(a:2)", [("a", 2.0)]),
    ("(a:0)", [("a", 0.0)]),
    ("(a:-1)", [("a", -1.0)]),
    ("(a:+1.5)", [("a", 1.5)]),
    ("(a:1.0)", [("a", 1.0)]),
    ("(a b:1.3)", [("a b", 1.3)]),
    ("((a:1.3))", [("a", 1.3 * 1.1)]),
    ("((a:1.3):2)", [("a", 2.6)]),
    ("(a (b:2) c:3)", [("a ", 3.0), ("b", 6.0), (" c", 3.0)]),
    ("(a:1.3)(b:1.3)", [("ab", 1.3)]),
    ("(a:1.3) (b:1.3)", [("a", 1.3), (" ", 1.0), ("b", 1.3)]),
    ("(a)b(c)", [("a", 1.1), ("b", 1.0), ("c", 1.1)]),
    ("a)b", [("a)b", 1.0)]),
    ("a]b", [("a]b", 1.0)]),
    ("[a", [("a", 1 / 1.1)]),
    ("((a", [("a", 1.1 * 1.1)]),
    ("a (b", [("a ", 1.0), ("b", 1.1)]),
    ("(a]", [("a]", 1.1)]),
    ("[a)", [("a)", 1 / 1.1)]),
    ("[a:1.3]", [("a:1.3", 1 / 1.1)]),
    ("a:1.3", [("a:1.3", 1.0)]),
    ("a:1.3)", [("a:1.3)", 1.0)]),
    ("(a:b)", [("a:b", 1.1)]),
    ("(a:b:1.3)", [("a:b", 1.3)]),
    ("(a:1.2.3)", [("a:1.2.3)", 1.1)]),
    ("(a:.)", [("a:.)", 1.1)]),
    ("(:1.3)", [("", 1.0)]),
    (r"\(a\)", [("(a)", 1.0)]),
    (r"(a\))", [("a)", 1.1)]),
    (r"\[a\]", [("[a]", 1.0)]),
    (r"\\(a)", [("\\", 1.0), ("a", 1.1)]),
    (r"a\b", [("ab", 1.0)]),
    ("a\\", [("a", 1.0)]),
    ("(a [b) c]", [("a ", 1.1), ("b", 1.1 * (1 / 1.1)), (" c", 1 / 1.1)]),
    ("(a\nb)", [("a\nb", 1.1)]),
    ("{a|b}", [("{a|b}", 1.0)]),
    ("(高:1.2)", [("高", 1.2)]),
    ("a, (b:1.2), c", [("a, ", 1.0), ("b", 1.2), (", c", 1.0)]),
    ("best quality:", [("best quality:", 1.0)]),
]


@pytest.mark.parametrize(("prompt", "expected"), DOCUMENTED)
def test_documented_weights_are_exact(prompt, expected):
    assert weighted(prompt) == [expected]


@pytest.mark.parametrize(("prompt", "expected"), CASES)
def test_brackets_give_weights(prompt, expected):
    (found,) = weighted(prompt)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [w for _, w in found] == pytest.approx([w for _, w in expected], rel=1e-12)


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("a BREAK b", ["a", "b"]),
        ("a\n BREAK \nb", ["a", "b"]),
        ("aBREAK b", ["aBREAK b"]),
        ("BREAKING", ["BREAKING"]),
        ("break", ["break"]),
        ("BREAK", ["", ""]),
        ("a BREAK BREAK b", ["a", "", "b"]),
        ("a,BREAK,b", ["a,", ",b"]),
    ],
)
def test_BREAK_divides_a_prompt(prompt, texts):
    assert [[text for text, _ in group] for group in weighted(prompt)] == [[t] for t in texts]


def test_BREAK_divides_inside_brackets_too():
    assert weighted("(a BREAK b:1.3)") == [[("a", 1.3)], [("b", 1.3)]]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", [("a", 1.0)]),
        ("a (b) c", [("a ", 1.0), ("b", 1.1), (" c", 1.0)]),
        ("((a))", [("a", 1.1 * 1.1)]),
        ("(a:1.3)", [("a", 1.3)]),
        ("((a:1.3))", [("a", 1.3)]),  # the inner weight is absolute
        ("((a):1.3)", [("a", 1.3 * 1.1)]),
        ("(a (b:0.5) c)", [("a ", 1.1), ("b", 0.5), (" c", 1.1)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("(:1.3)", [(":1.3", 1.1)]),
        ("[a]", [("[a]", 1.0)]),
        ("[a:b:0.5]", [("[a:b:0.5]", 1.0)]),
        ("a BREAK b", [("a BREAK b", 1.0)]),
        (r"\(a\)", [("(a)", 1.0)]),
        (r"(a\))", [("a)", 1.1)]),
        ("(a", [("(a", 1.0)]),
        ("a)", [("a)", 1.0)]),
    ],
)
def test_comfyui_reads_round_brackets_only(prompt, expected):
    found = [segment for segment in weighted_as_comfy(prompt) if segment.text]
    assert "".join(text for text, _ in found) == "".join(text for text, _ in expected)
    by_letter = [[w for text, w in side for _ in text] for side in (found, expected)]
    assert by_letter[0] == pytest.approx(by_letter[1], rel=1e-12)


@pytest.mark.parametrize("read", [lambda text: weighted(text)[0], weighted_as_comfy])
def test_any_text_can_be_read_and_keeps_its_letters(read):
    rng = random.Random(0)
    for _ in range(2_000):
        prompt = "".join(rng.choices("ab [](:)\\.5", k=rng.randrange(30)))
        text = "".join(segment.text for segment in read(prompt))
        assert re.sub(r"[^ab]", "", text) == re.sub(r"[^ab]", "", prompt)


@pytest.mark.parametrize(
    "prompt",
    ["(" * 8_000, "(a" * 3_000 + ")" * 3_000, ")" * 8_000, "(:1.2)" * 3_000, "(:" * 8_000],
)
def test_deep_and_long_prompts_are_read(prompt):
    assert sum(len(segment.text) for group in weighted(prompt) for segment in group) <= len(
        prompt
    )
    assert sum(len(segment.text) for segment in weighted_as_comfy(prompt)) <= len(prompt)


Z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
EMPTY = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
WEIGHTS = [1.0, 1.3, 0.0, -0.5, 1.0, 1.0]


@pytest.mark.holds("labml_sd.text_encoder.emphasis.apply_weights")
def test_weights_are_applied_as_the_equations_say():
    w = torch.tensor(WEIGHTS, dtype=torch.float64)[:, None]
    a1111 = (Z.mean() / (w * Z).mean()) * (w * Z)
    torch.testing.assert_close(apply_weights(Z, WEIGHTS, "a1111"), a1111)
    torch.testing.assert_close(apply_weights(Z, WEIGHTS, "no_norm"), w * Z)
    comfy = EMPTY + w * (Z - EMPTY)
    torch.testing.assert_close(apply_weights(Z, WEIGHTS, "comfy", EMPTY), comfy)
    assert apply_weights(Z, WEIGHTS, "ignore") is Z


def test_the_mean_of_a_chunk_is_restored():
    torch.testing.assert_close(apply_weights(Z, WEIGHTS, "a1111").mean(), Z.mean())


def test_comfyui_leaves_tokens_of_weight_1_to_the_bit():
    found = apply_weights(Z, WEIGHTS, "comfy", EMPTY)
    plain = [i for i, weight in enumerate(WEIGHTS) if weight == 1]
    assert torch.equal(found[plain], Z[plain])


@pytest.mark.parametrize("emphasis", ["a1111", "no_norm", "comfy", "ignore"])
def test_without_weights_nothing_is_computed(emphasis):
    assert apply_weights(Z, [1.0] * 6, emphasis) is Z


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_number_type_is_kept_and_sums_are_made_in_float32(dtype):
    found = apply_weights(Z.to(dtype), WEIGHTS, "a1111")
    assert found.dtype == dtype
    exact = apply_weights(Z.to(dtype).double(), WEIGHTS, "a1111")
    torch.testing.assert_close(found, exact.to(dtype), rtol=8 * torch.finfo(dtype).eps, atol=0)
