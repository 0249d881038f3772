r"""The command `prompt`: how a prompt is read, its variants, and what continues it.

Maps       parsed arguments -> lines of text, or JSON, on standard output
Tests      tests/cli/test_show_prompt.py
"""

import argparse
import dataclasses
import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise

from labml_sd.cli.prompts import varied
from labml_sd.errors import one_line
from labml_sd.prompt_tools.reading import (
    ConditionReading,
    PromptReading,
    TokenReading,
    Tree,
    prompt_reading,
)
from labml_sd.settings import check_settings

WIDTH = 80  # columns
_INDENT = "  "


def prompt_command(args: argparse.Namespace) -> None:
    """Print variants, continued prompts, or how the prompt is read."""
    prompts = varied(args, [args.prompt], args.seed)
    if args.continue_with is not None:
        prompts = [text for each in prompts for text in _continued(args, each)]
    elif args.variants is None:
        _show(args)
        return
    if args.json:
        print(json.dumps(prompts))
        return
    for prompt in prompts:
        print(_printable(prompt))


def _continued(args: argparse.Namespace, prompt: str) -> list[str]:
    from labml_sd.prompt_tools.generator import generate_prompts

    names = ("n", "seed", "max_tokens", "temperature", "top_k")
    given = {name: vars(args)[name] for name in names if vars(args)[name] is not None}
    return generate_prompts(prompt, model=args.continue_with, **given)


def _show(args: argparse.Namespace) -> None:
    from labml_sd.checkpoint import load_model
    from labml_sd.checkpoint.embeddings import load_embeddings

    names = ("steps", "emphasis", "embeddings")
    given = {name: vars(args)[name] for name in names if vars(args)[name] is not None}
    settings = check_settings(given)
    model = load_model(args.model, device="cpu")
    encoder, width = model.text_encoder, model.config.text_encoder.d_model
    embeddings = load_embeddings(settings.embeddings, width, model.config.name)
    read = prompt_reading(
        args.prompt,
        encoder.tokenizer,
        encoder.config,
        emphasis=settings.emphasis,
        n_steps=settings.steps,
        several=not args.negative,
        embeddings={name: each.vectors for name, each in embeddings.items()},
    )
    if args.json:
        print(json.dumps(dataclasses.asdict(read)))
        return
    for line in reading_lines(read):
        print(line)


def reading_lines(read: PromptReading) -> Iterator[str]:
    """The lines that show how a prompt is read, of 80 columns at most."""
    yield f"emphasis {read.emphasis}, {read.n_steps} steps"
    if read.networks:
        yield "extra networks"
        for network in read.networks:
            parts = (network.kind, network.name, *network.arguments)
            yield from _wrapped(f"<{':'.join(parts)}>", 1)
    count = len(read.conditions)
    for i, condition in enumerate(read.conditions, start=1):
        if count > 1:
            yield f"condition {i} of {count}, weight {_number(condition.weight)}"
        yield from _condition_lines(condition, read, depth=int(count > 1))


def _condition_lines(
    condition: ConditionReading, read: PromptReading, depth: int
) -> Iterator[str]:
    if any(not isinstance(node, str) for node in condition.tree):
        yield _INDENT * depth + "tree"
        yield from _tree_lines(condition.tree, read.n_steps, depth + 1)
    for text in condition.texts:
        yield from _wrapped(f"{_steps(text.steps)}: {text.text.strip()}", depth)
        for number, tokens in enumerate(text.chunks, start=1):
            which = f"chunk {number} of {len(text.chunks)}" if len(text.chunks) > 1 else "chunk"
            yield _INDENT * (depth + 1) + f"{which}: {len(tokens)} of {read.room} tokens"
            for weight, run in groupby(tokens, key=lambda token: token.weight):
                words = _words(run)
                yield from _wrapped(f"{_number(weight):<7} {words}", depth + 2, hang=8)


def _tree_lines(tree: Tree, n_steps: int, depth: int) -> Iterator[str]:
    for node in tree:
        if isinstance(node, str):
            yield from _wrapped(json.dumps(node, ensure_ascii=False), depth)
        elif "items" in node:
            yield _INDENT * depth + "alternation, at each step the next of"
            for item in node["items"]:
                yield from _tree_lines(item or [""], n_steps, depth + 1)
        else:
            when = node["when"]
            last = float(when) * (n_steps if "." in when else 1)
            share = f" ({when} of {n_steps})" if "." in when else ""
            yield _INDENT * depth + f"edit: up to step {_number(last)}{share}"
            yield from _tree_lines(node["before"] or [""], n_steps, depth + 1)
            yield _INDENT * depth + "and from then on"
            yield from _tree_lines(node["after"] or [""], n_steps, depth + 1)


def _words(tokens: Iterable[TokenReading]) -> str:
    """Words, with + between the tokens of one."""
    found: list[str] = []
    inside = False
    for token in tokens:
        text = token.text or f"#{token.id}"
        found.append(("+" if inside else " " if found else "") + text)
        inside = not token.ends_word
    return "".join(found)


def _steps(steps: Sequence[int]) -> str:
    """The numbers of steps, as "steps 1-10" or "steps 1, 3, 5 to 19"."""
    first, last, n = steps[0], steps[-1], len(steps)
    if n == 1:
        return f"step {first}"
    gaps = {b - a for a, b in pairwise(steps)}
    if gaps == {1}:
        return f"steps {first}-{last}"
    if len(gaps) == 1 and n > 3:
        return f"steps {steps[0]}, {steps[1]}, {steps[2]} to {last}"
    return f"steps {', '.join(map(str, steps))}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _wrapped(text: str, depth: int, hang: int = 2) -> list[str]:
    indent = _INDENT * depth
    return textwrap.wrap(
        one_line(text),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + " " * hang,
        break_on_hyphens=False,
    )


def _printable(prompt: str) -> str:
    """On one line, as a list of prompts holds it, without codes for the terminal."""
    line = " ".join(prompt.splitlines())
    return "".join(c if c.isprintable() or c.isspace() else one_line(c) for c in line)
