"""The built site with a screen reader and with the keyboard alone."""

from itertools import pairwise

import pytest

pytestmark = pytest.mark.site

each_size = pytest.mark.parametrize("size", ["desktop", "phone"])
NAMED = {
    "button",
    "link",
    "searchbox",
    "textbox",
    "checkbox",
    "combobox",
    "DisclosureTriangle",
    "image",
}


def test_every_page_has_one_first_heading_and_skips_no_level(parsed):
    found = []
    for page in parsed.values():
        levels = page.headings
        jumps = any(below > above + 1 for above, below in pairwise(levels))
        if levels.count(1) != 1 or levels[0] != 1 or jumps:
            found.append(f"{page.name}: {levels}")
    assert not found, "\n".join(found)


def test_every_page_names_its_language(parsed):
    pages = parsed.values()
    assert {page.language for page in pages if page.name.startswith("zh_CN/")} == {"zh-CN"}
    assert {page.language for page in pages if not page.name.startswith("zh_CN/")} == {"en"}


def test_every_control_has_a_name(seen):
    client = seen.page.context.new_cdp_session(seen.page)
    nodes = client.send("Accessibility.getFullAXTree")["nodes"]
    nameless = [
        client.send("DOM.getOuterHTML", {"backendNodeId": node["backendDOMNodeId"]})[
            "outerHTML"
        ][:100]
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in NAMED
        and not node.get("name", {}).get("value", "").strip()
    ]
    assert not nameless, nameless


def tab_to(page, selector: str, presses: int = 15) -> None:
    """Press Tab until an element has the focus; it must be visible and marked."""
    from playwright.sync_api import expect

    for _ in range(presses):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            break
    expect(page.locator(f":is({selector}):focus")).to_be_in_viewport()
    style = page.evaluate("(({outlineStyle, boxShadow}) => [outlineStyle, boxShadow])"
                          "(getComputedStyle(document.activeElement))")  # fmt: skip
    assert style != ["none", "none"]


@each_size
def test_the_first_tab_is_a_link_past_the_menu(visit, size):
    page = visit("annotated/unet/attention.html", size).page
    tab_to(page, "#pst-skip-link a", presses=1)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    page.close()


@each_size
def test_the_search_works_with_the_keyboard(visit, size):
    page = visit("index.html", size).page
    tab_to(page, ".search-button__button")
    page.keyboard.press("Enter")
    page.keyboard.type("cross attention")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=cross+attention")
    page.close()


@each_size
def test_the_menu_works_with_the_keyboard(visit, size):
    page = visit("index.html", size).page
    if size == "phone":
        tab_to(page, ".primary-toggle")
        page.keyboard.press("Enter")
    tab_to(page, "nav.bd-links a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/start.html")
    page.close()
