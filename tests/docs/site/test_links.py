"""Every page of the built site, without a browser: links, and requests to other hosts."""

import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.site

ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)


@cache
def target_of(folder: Path, path: str) -> Path | None:
    """The target of a link of a page in this folder, if it exists."""
    target = Path(os.path.normpath(folder / unquote(path)))
    return target if target.is_file() else None


def lost(page, parsed) -> list[str]:
    """Links of a page to a missing file or a missing anchor."""
    found = []
    for url in sorted({*page.links, *page.loads}):
        parts = urlsplit(url)
        if parts.scheme or parts.netloc:
            continue
        target = target_of(page.path.parent, parts.path) if parts.path else page.path
        anchors = parsed[target].ids if target in parsed else {parts.fragment}
        if target is None or (parts.fragment and unquote(parts.fragment) not in anchors):
            found.append(f"{page.name} -> {url}")
    return found


def test_every_link_leads_to_a_file_and_to_an_anchor_in_it(parsed):
    found = [link for page in parsed.values() for link in lost(page, parsed)]
    assert not found, "\n".join(found)


def test_no_page_loads_anything_from_another_host(parsed):
    found = [
        f"{page.name}: {url}"
        for page in parsed.values()
        for url in page.loads
        if ELSEWHERE.match(url)
    ]
    assert not found, "\n".join(found)


def test_no_style_sheet_loads_anything_from_another_host(site, style_url):
    sheets = {sheet: sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css")}
    urls = [
        (sheet.name, url) for sheet, text in sheets.items() for url in style_url.findall(text)
    ]
    found = [f"{name}: {url}" for name, url in urls if ELSEWHERE.match(url)]
    assert sheets and not found, "\n".join(found)


def test_every_picture_has_an_alternative_text(parsed):
    found = [
        f"{page.name}: {src}"
        for page in parsed.values()
        for src, alt in page.images
        if not alt.strip()
    ]
    assert not found, "\n".join(found)


def test_no_page_shows_the_dollars_of_a_formula(parsed):
    found = [f"{page.name}: {text}" for page in parsed.values() for text in page.dollars]
    assert not found, "\n".join(found)


def test_each_page_exists_in_both_languages(parsed):
    names = {page.name for page in parsed.values()}
    chinese = {name.removeprefix("zh_CN/") for name in names if name.startswith("zh_CN/")}
    english = {name for name in names if not name.startswith("zh_CN/")}
    assert chinese == english
