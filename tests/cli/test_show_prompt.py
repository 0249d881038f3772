"""The command `prompt`, and --variants of the commands that draw."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from labml_sd import prompt_variants
from labml_sd.adapters import Embedding
from labml_sd.checkpoint.embeddings import save_embedding
from labml_sd.cli import main as cli
from labml_sd.cli.show_prompt import WIDTH
from labml_sd.pipeline.parameters import read_parameters


@pytest.fixture
def shell(shell, model, monkeypatch):
    monkeypatch.setattr("labml_sd.checkpoint.load_model", lambda *_, **__: model)
    return shell


def parameters(lines):
    return [read_parameters(line) for line in lines]


def test_a_plain_prompt(shell):
    code, out, err = shell("prompt", "a red house", "--steps", 4)
    assert (code, err) == (0, [])
    assert out[0] == "emphasis a1111, 4 steps"
    assert out[1] == "steps 1-4: a red house"
    assert out[2].endswith("of 75 tokens") and out[3].split()[0] == "1"


def test_everything_that_a_prompt_can_have(shell):
    prompt = "<lora:x:0.8> a (red:1.25) [house|boat] :0.5 AND [a:b:0.5] BREAK c"
    code, out, err = shell("prompt", prompt, "--steps", 10)
    text = "\n".join(out)
    for shown in (
        *("  <lora:x:0.8>", "condition 1 of 2, weight 0.5", "1.25    ", "chunk 1 of 2:"),
        *("alternation, at each step the next of", "edit: up to step 5 (0.5 of 10)"),
        *("steps 1, 3, 5 to 9: a (red:1.25) house", "steps 6-10: b BREAK c"),
    ):
        assert shown in text
    assert (code, err) == (0, [])


def test_lines_fit_80_columns(shell):
    prompt = "[a:" + "red, blue house " * 30 + ":3] " + "x" * 200 + " <lora:" + "y" * 99 + ":1>"
    _, out, _ = shell("prompt", prompt)
    assert max(map(len, out)) <= WIDTH and len(out) > 20


def test_other_ways_to_read(shell):
    for emphasis, shown in [("none", "(a:2) AND b"), ("comfy", "(a:2) AND b")]:
        _, out, _ = shell("prompt", "(a:2) AND b", "--emphasis", emphasis)
        assert out[1] == f"steps 1-20: {shown}"
    _, out, _ = shell("prompt", "a AND b", "--as-negative")
    assert out[1] == "steps 1-20: a AND b"
    code, _, err = shell("prompt", "a", "--emphasis", "loud")
    assert code == 2 and len(err) == 1 and "emphasis" in err[0]
    code, _, err = shell("prompt", "a", "--steps", 0)
    assert code == 2 and len(err) == 1 and "steps" in err[0]


def test_tokens_of_embeddings_have_their_names(shell, model, tmp_path):
    vectors = torch.zeros(2, model.config.text_encoder.d_model)
    save_embedding(Embedding("toy", vectors), tmp_path / "toy.safetensors")
    code, out, err = shell("prompt", "a (toy:1.5) house", "--embeddings", "toy.safetensors")
    assert (code, err) == (0, []) and "    1.5     <toy> <toy>" in out
    code, _, err = shell("prompt", "a", "--embeddings", "missing.pt")
    assert code == 2 and len(err) == 1


def test_codes_for_the_terminal_are_not_printed(shell):
    for arguments in ([], ["--variants", 1]):
        _, out, _ = shell("prompt", "a\x1b[31m\nb", *arguments)
        assert "\x1b" not in "".join(out) and "\\x1b" in "".join(out)
    assert out == ["a\\x1b[31m b"]


def test_json(shell):
    _, out, _ = shell("prompt", "a [b|c]", "--json", "--steps", 2)
    read = json.loads("\n".join(out))
    assert read["conditions"][0]["texts"][1]["text"] == "a c"
    _, out, _ = shell("prompt", "{a|b}", "--json", "--variants", "all")
    assert json.loads(out[0]) == ["a", "b"]


def test_variants_are_printed_one_a_line(shell, tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words/colour.txt").write_text("red\nblue\n")
    prompt = "a __colour__ {house|boat}"
    arguments = ["prompt", prompt, "--wildcards", "words", "--variants"]
    code, out, err = shell(*arguments, 5, "--seed", 3)
    assert (code, err) == (0, [])
    assert out == prompt_variants(prompt, 5, seed=3, wildcards="words")
    _, out, _ = shell(*arguments, "all")
    assert out == ["a red house", "a red boat", "a blue house", "a blue boat"]
    for wrong in ("0", "-1", "x", "1.5"):
        code, out, err = shell(*arguments, wrong)
        assert code == 2 and out == [] and len(err) == 1
    code, _, err = shell("prompt", "a", "--wildcards", "words")
    assert code == 2 and "--variants" in err[0]


def test_a_language_model_continues_the_prompt(shell, gpt2):
    code, out, err = shell("prompt", "a red house", "--continue", gpt2, "--count", 3)
    assert (code, err) == (0, [])
    assert len(set(out)) == 3 and all(line.startswith("a red house ") for line in out)
    arguments = ["--variants", "all", "--continue", gpt2, "--max-tokens", 2, "--seed", 4]
    _, out, _ = shell("prompt", "a {red|blue} house", *arguments)
    assert [line.split()[1] for line in out] == ["red", "blue"]
    code, _, err = shell("prompt", "a", "--continue", "missing/folder/there")
    assert code == 2 and len(err) == 1


def test_variants_are_drawn_each_with_its_seed(shell):
    prompt = "a {red|blue|green} {house|boat}"
    arguments = ["txt2img", prompt, "--steps", 1, "--seed", 7]
    code, out, _ = shell(*arguments, "--variants", 3)
    drawn = parameters(out)
    assert code == 0
    assert [each.prompt for each in drawn] == prompt_variants(prompt, 3, seed=7)
    assert [each.seed for each in drawn] == [7, 8, 9]
    _, again, _ = shell("txt2img", drawn[2].prompt, "--steps", 1, "--seed", 9)
    assert Path(again[0]).read_bytes() == Path(out[2]).read_bytes()


def test_without_variants_braces_are_text(shell):
    prompt = "a {red|blue} __house__"
    _, out, _ = shell("txt2img", prompt, "--steps", 1, "--seed", 7)
    assert [each.prompt for each in parameters(out)] == [prompt]


def test_each_prompt_of_a_list_has_its_variants(shell, tmp_path):
    (tmp_path / "p.txt").write_text("{a|b|c|d|e|f}\nplain\n{a|b|c|d|e|f}\n")
    arguments = ["txt2img", "--prompt-file", "p.txt", "--steps", 1, "--seed", 0]
    _, out, _ = shell(*arguments, "--variants", 2)
    first, second = (prompt_variants("{a|b|c|d|e|f}", 2, first=i) for i in (0, 4))
    assert [p.prompt for p in parameters(out)] == [*first, "plain", "plain", *second]
    resumed = shell(*arguments, "--variants", 2, "--resume")
    assert resumed[:2] == (0, [])


def test_the_other_tasks_draw_variants_too(shell, photo):
    photo(32, 32).save("photo.png")
    photo(32, 32).save("mask.png")
    options = ["--variants", "all", "--init-image", "photo.png", "--steps", 2, "--seed", 1]
    for task, own in [
        ("img2img", []),
        ("inpaint", ["--mask", "mask.png"]),
        ("outpaint", ["--left", 32]),
    ]:
        code, out, err = shell(task, "a {red|blue} house", *options, *own, "--outdir", task)
        assert (code, len(out)) == (0, 2), err
        prompts = [each.prompt for each in parameters(out)]
        assert prompts == ["a red house", "a blue house"]


def test_a_wrong_template_draws_nothing(shell):
    for prompt, options in [("__x__", []), ("{0::a}", [])]:
        code, out, err = shell("txt2img", prompt, "--variants", 2, *options)
        assert (code, out, len(err)) == (2, [], 1)
    assert not Path("outputs").exists() or not any(Path("outputs").iterdir())


def printed_in_the_docs():
    """The commands on the page about prompts whose output is shown, and that output."""
    page = Path(__file__).parents[2] / "docs/prompts.md"
    blocks = re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.M) if part]
    return [part.split("\n", 1) for part in parts if part.startswith("labml-sd prompt")]


@pytest.mark.parametrize(("command", "output"), printed_in_the_docs())
def test_the_docs_show_what_is_printed(command, output, capsys):
    assert cli.main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out == output
