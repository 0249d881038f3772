"""The Chinese catalogues match their pages, with formulas, code and links unchanged."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CATALOGUES = DOCS / "locale" / "zh_CN" / "LC_MESSAGES"
FILES = {
    path.relative_to(CATALOGUES).with_suffix("").as_posix(): path
    for path in CATALOGUES.rglob("*.po")
}
PAGES = sorted(FILES.keys() - {"sphinx"})  # which has words of the theme


class Entry(NamedTuple):
    """A piece of a page and its translation."""

    fuzzy: bool
    english: str
    chinese: str


def entries(page: str) -> list[Entry]:
    """A catalogue without its header."""
    found = []
    for block in FILES[page].read_text("utf-8").strip().split("\n\n"):
        texts = {"msgid": "", "msgstr": ""}
        for line in block.split("\n"):
            if match := re.fullmatch(r'(?:(msgid|msgstr) )?(".*")', line):
                key = match[1] or key
                texts[key] += json.loads(match[2])
        if texts["msgid"]:
            fuzzy = re.search(r"^#,.*\bfuzzy\b", block, re.MULTILINE) is not None
            found.append(Entry(fuzzy, texts["msgid"], texts["msgstr"]))
    return found


def source(page: str) -> str:
    """The prose of a page or of a notebook on one line."""
    if page.startswith("notebooks/"):
        cells = json.loads((DOCS.parent / f"{page}.ipynb").read_text("utf-8"))["cells"]
        text = "\n\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
        text = re.sub(
            r"</?details>|<summary>Solution</summary>", "", text.replace("../docs/", "../")
        )
    else:
        text = (DOCS / f"{page}.md").read_text("utf-8")
    text = re.sub(r"```\w+\n.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"```\{toctree\}\n(.*?)```", menu_titles, text, flags=re.DOTALL)
    text = re.sub(r"^:{3,}\{grid-item-card\}|^% .*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(```|:{3,})\{\w+\}.*|^:alt:|^:[\w-]+:.*", "", text, flags=re.MULTILINE)
    return " ".join(text.split())


def menu_titles(match: re.Match[str]) -> str:
    """The caption of a list of pages, and the names that it gives them."""
    titles = re.findall(r"^:caption: (.+)$|^(.+) <.+>$", match[1], re.MULTILINE)
    return "\n".join(caption or name for caption, name in titles)


def marks(text: str) -> list[tuple[str, ...]]:
    """What a translation must keep: roles and their targets, links, formulas, code."""
    role = r"\{([\w:]+)\}`(?:[^`<]*<)?([^`>]+)>?`"
    found = [("role", *match) for match in re.findall(role, text)]
    text = re.sub(role, "", text)
    for kind, pattern in {
        "link": r"\]\(([^)]+)\)",
        "formula": r"\$([^$]+)\$",
        "code": r"`([^`]+)`",
    }.items():
        found += [(kind, inner) for inner in re.findall(pattern, text)]
    return sorted(found)


def test_the_first_pages_are_translated() -> None:
    assert {"index", "start", "flow", "glossary", "notebooks/00_tour"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_entry_is_in_its_page(page: str) -> None:
    text = source(page)
    assert [e.english for e in entries(page) if " ".join(e.english.split()) not in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_part_of_a_page_has_an_entry(page: str) -> None:
    text = source(page)
    for english in sorted(
        (" ".join(e.english.split()) for e in entries(page)), key=len, reverse=True
    ):
        text = re.sub(rf"(?<!\w){re.escape(english)}(?!\w)", " ", text)
    assert re.findall(r"[^\W\d_]{3,}", text) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_entry_is_translated_and_none_is_fuzzy(page: str) -> None:
    words = r"[a-z]{2,} [a-z]{2,}"
    for fuzzy, english, chinese in entries(page):
        assert not fuzzy, english
        assert chinese, english
        prose = re.search(words, re.sub(r"[`$(][^`$)]*[`$)]", "", english))
        assert not prose or re.search(r"[\u4e00-\u9fff]", chinese), english


@pytest.mark.parametrize("page", PAGES)
def test_formulas_code_links_and_roles_are_kept(page: str) -> None:
    for _, english, chinese in entries(page):
        assert marks(chinese) == marks(english)
