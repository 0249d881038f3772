"""Names, commands, links and tests in the README and in the documentation exist."""

import ast
import importlib
import inspect
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labml_sd

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, ROOT / "CHANGELOG.md", *DOCS]
TWO_COMMANDS = [
    'pip install -c constraints.txt . && labml-sd txt2img "a red house in the snow at night"',
    'pip install -c constraints.txt -e ".[test]" && pytest',
]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```",
        path.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )


SNIPPETS = [
    pytest.param(s, id=f"{p.stem}-{i}")
    for p in PAGES
    for i, s in enumerate(blocks(p, "python"))
]


def names_used(tree: ast.Module) -> dict[str, list[str]]:
    """Module of this package -> the names that a snippet imports from it."""
    used: dict[str, list[str]] = {"labml_sd": []}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("labml_sd"):
            used.setdefault(str(node.module), []).extend(alias.name for alias in node.names)
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "sd"
        ):
            used["labml_sd"].append(node.attr)
    return used


def calls(tree: ast.Module) -> list[tuple[Callable[..., Any], ast.Call]]:
    """The package's functions that a snippet calls as `sd.name(...)`."""
    found = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)
    ]
    return [
        (getattr(labml_sd, n.func.attr), n)
        for n in found
        if isinstance(n.func, ast.Attribute)
        and isinstance(n.func.value, ast.Name)
        and n.func.value.id == "sd"
    ]


def test_the_readme_has_snippets():
    assert len(blocks(README, "python")) >= 3


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_use_public_names_only(snippet):
    for module, names in names_used(ast.parse(snippet)).items():
        found = vars(importlib.import_module(module))
        public = found.get("__all__", [name for name in found if not name.startswith("_")])
        assert [name for name in names if name not in public] == []


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_call_with_arguments_that_exist(snippet):
    for function, call in calls(ast.parse(snippet)):
        keywords = {str(k.arg): None for k in call.keywords}
        inspect.signature(function).bind(*call.args, **keywords)


def test_the_two_commands_are_in_the_readme_and_run_by_ci():
    said = [line for block in blocks(README, "bash") for line in block.splitlines()]
    run = [
        line.strip() for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    ]
    assert said == TWO_COMMANDS
    steps = [step for command in TWO_COMMANDS for step in command.split(" && ")]
    assert [line for line in run if line in steps] == steps


def test_the_command_line_accepts_the_commands_on_the_pages():
    from labml_sd.cli import main as cli

    found = [block for page in PAGES for block in blocks(page, "bash")]
    parts = [
        part.strip()
        for line in "\n".join(found).replace("\\\n", " ").splitlines()
        for part in re.split(r"&&|\| (?=labml-sd)", line)
    ]
    commands = [part for part in parts if "labml-sd" in part]
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "labml-sd"
        parser = cli._build_parser(cli._training(arguments))
        assert parser.parse_args(arguments).run


def test_tests_that_the_readme_names_exist():
    named = re.findall(r"\[`(test_\w+)`\]\((\S+?\.py)\)", README.read_text(encoding="utf-8"))
    assert named
    for test, file in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), (
            f"{file} has no {test}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)|^```\{(?:image|include)\} (\S+)", text, re.MULTILINE)
    relative = [t for pair in targets if not re.match(r"https?:|#", t := "".join(pair))]
    missing = [t for t in relative if not (page.parent / t.split("#")[0]).exists()]
    assert missing == []


def test_every_public_name_is_documented():
    api = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    modules = [importlib.import_module(m) for m in re.findall(r"automodule:: (\S+)", api)]
    described = {name for m in modules for name in getattr(m, "__all__", vars(m))}
    assert set(labml_sd.__all__) - described == {"__version__"} & set(labml_sd.__all__)


def test_constraints_pin_torch_and_every_direct_dependency():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dependencies = [
        *project["dependencies"],
        *(d for group in project["optional-dependencies"].values() for d in group),
    ]
    names = {re.split(r"[<>=\[ ]", dependency)[0] for dependency in dependencies}
    assert pins["torch"] == "2.13.0"
    assert names - pins.keys() == set()


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [labml_sd.__version__]
