"""The guide pages of the documentation: what they name and link to exists."""

import importlib
import json
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import labml_sd
from labml_sd.settings import Settings

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
GUIDES = (
    "glossary",
    "numbers",
    "safety",
    "from_notes",
    "contributing",
    "licence",
    "speed",
    "prompts",
)
each_guide = pytest.mark.parametrize("name", GUIDES)


def text_of(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def target_of(link: str) -> Path:
    """The file of a link in docs/; for copies (notebooks, source pages) the original."""
    path = link.split("#")[0]
    if path.startswith("annotated/"):
        return ROOT / f"labml_sd/{path.removeprefix('annotated/')}.py"
    return (ROOT if path.startswith("notebooks/") else DOCS) / path


def links(text: str) -> list[str]:
    """Targets of inline links, link definitions and {doc} roles, without other hosts."""
    found = re.findall(
        r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$|\{doc\}`(?:[^<`]+<)?([^<>`]+)>?`",
        text,
        re.MULTILINE,
    )
    return [link for pair in found if not re.match(r"https?:|#", link := "".join(pair))]


def headings(path: Path) -> list[str]:
    """The headings of a page or of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return [title.strip() for title in re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)]


def anchor(title: str) -> str:
    """What MyST makes of a heading: GitHub's rule."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def notation_names() -> list[str]:
    """The second column of the notation table."""
    rows = text_of("glossary").split("| symbol |")[1].splitlines()[2:]
    cells = [row.split("|")[2] for row in rows if row.startswith("|")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_the_guides_are_in_the_list_of_pages():
    listed = text_of("index").splitlines()
    assert [name for name in GUIDES if name not in listed] == []


def test_the_layout_on_the_contributing_page_is_that_of_the_package():
    tree = text_of("contributing").split("```text\nlabml_sd/\n")[1].split("\nnotebooks/")[0]
    shown = re.findall(r"^( +)(\S+?)/? ", tree, re.MULTILINE)
    top = [name for indent, name in shown if len(indent) == 2]
    package = ROOT / "labml_sd"
    files = {path.name for path in package.glob("*.py")} - {"__main__.py"}
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert sorted(top) == sorted([*files, *packages, "models"])
    inner = {path.parent.name for path in package.glob("*/*/__init__.py")}
    assert {name for indent, name in shown if len(indent) == 4} == inner


def test_every_public_name_is_on_the_api_page_or_described_by_it():
    api = text_of("api")
    modules = [importlib.import_module(name) for name in re.findall(r"automodule:: (\S+)", api)]
    described = {
        name for module in modules for name in getattr(module, "__all__", vars(module))
    }
    written = set(re.findall(r"\w+", api))
    assert [name for name in labml_sd.__all__ if name not in described | written] == []


@each_guide
def test_every_link_leads_to_a_file(name):
    assert [link for link in links(text_of(name)) if not target_of(link).is_file()] == []


@each_guide
def test_every_link_into_a_page_leads_to_one_of_its_headings(name):
    into = [link.split("#") for link in links(text_of(name)) if "#" in link]
    lost = [(p, a) for p, a in into if a not in map(anchor, headings(target_of(p)))]
    assert lost == []


@cache
def texts_of_tests() -> dict[str, str]:
    """The text of every test file."""
    return {p.as_posix(): p.read_text("utf-8") for p in (ROOT / "tests").rglob("test_*.py")}


def files_of(words: str, file: str) -> list[str]:
    """The test files that define a test, which is given in words."""
    line = f"def test_{words.replace(' ', '_')}("
    return [
        p for p, text in texts_of_tests().items() if line in text and p.endswith(f"{file}.py")
    ]


@each_guide
def test_every_test_that_is_named_exists(name):
    text = text_of(name)
    paths = re.findall(r"\btests/[\w/]+\.py", text)
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    named = re.findall(r"\{test\}`([^<`]+?)(?: <(\S+)>)?`", text)
    assert [words for words, file in named if len(files_of(words, file)) != 1] == []


def test_every_link_label_is_defined_and_used():
    for name in GUIDES:
        text = text_of(name)
        assert set(re.findall(r"\]\[(\w+)\]", text)) == set(
            re.findall(r"^\[(\w+)\]: ", text, re.MULTILINE)
        )


def test_the_notation_table_has_names():
    assert len(notation_names()) >= 25


@pytest.mark.parametrize("name", notation_names())
def test_every_name_of_the_notation_table_is_in_the_package(name):
    modules = (ROOT / "labml_sd").rglob("*.py")
    assert any(
        re.search(rf"\b{name}\b", module.read_text(encoding="utf-8")) for module in modules
    )


def test_the_table_of_settings_has_every_setting(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_ext")
    rows = importlib.import_module("settings_rows").settings()
    flags = [flag for flag, *_ in rows]
    names = [field.name for field in fields(Settings)]
    assert flags == [f"`--{name.replace('_', '-')}`" for name in names]
    assert all(default and meaning for _, _, default, meaning in rows)
