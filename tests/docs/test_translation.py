"""The Chinese catalogues hold what the pages say now, with formulas, code and links as they are."""

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
PAGES = sorted(FILES.keys() - {"sphinx"})  # that one holds words of the theme


class Entry(NamedTuple):
    """A piece of a page, and what stands for it."""

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
    """The page as its author wrote it, on one line; of a notebook the prose, as docs/conf.py takes it."""
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
    text = re.sub(r"^(```|:{3,})\{\w+\}.*|^:alt:|^:\w+:.*", "", text, flags=re.MULTILINE)
    return " ".join(text.split())


def menu_titles(match: re.Match[str]) -> str:
    """Of a list of pages: the names that it gives them."""
    return "\n".join(re.findall(r"^(.+) <.+>$", match[1], re.MULTILINE))


def marks(text: str) -> list[tuple[str, ...]]:
    """What a translator leaves alone: roles and their targets, links, formulas, code."""
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


def test_the_first_pages_a_reader_meets_are_translated() -> None:
    assert {"index", "start", "flow", "glossary", "notebooks/00_tour"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_entry_still_stands_in_its_page(page: str) -> None:
    text = source(page)
    assert [e.english for e in entries(page) if " ".join(e.english.split()) not in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_a_page_is_without_an_entry(page: str) -> None:
    text = source(page)
    for english in sorted(
        (" ".join(e.english.split()) for e in entries(page)), key=len, reverse=True
    ):
        text = re.sub(rf"(?<!\w){re.escape(english)}(?!\w)", " ", text)
    assert re.findall(r"[^\W\d_]{3,}", text) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_entry_is_translated_and_none_is_in_doubt(page: str) -> None:
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
