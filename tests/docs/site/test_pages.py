"""One page of each kind in a browser, on a desktop and a phone, in light and dark."""

import re

import pytest

pytestmark = pytest.mark.site


def test_the_theme_follows_the_preference_of_the_reader(seen, request):
    assert seen.facts["theme"] == request.node.callspec.params["seen"][2]


def test_there_are_no_errors_and_no_requests_to_other_hosts(seen):
    found = [*seen.errors, *seen.foreign]
    assert not found, "\n".join(found)


def test_every_formula_is_rendered(seen):
    found = [*seen.facts["unrendered"], *seen.facts["wrong"], *seen.facts["raw"]]
    assert not found, "\n".join(found)


def test_every_picture_is_loaded_and_has_an_alternative_text(seen):
    found = [*seen.facts["missing"], *seen.facts["unnamed"]]
    assert not found, "\n".join(found)


def test_the_page_is_no_wider_than_the_screen(seen):
    found = [*seen.facts["tooWide"], *seen.facts["sticksOut"]]
    assert not found, "\n".join(found)


def test_text_and_code_have_enough_contrast(seen):
    found = seen.facts["pale"]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "path", ["annotated/unet/attention.html", "notebooks/03_attention.html"]
)
def test_the_tested_pages_contain_formulas_and_pictures(visit, path):
    page = visit(path).page
    kind = "mjx-container" if path.startswith("annotated") else "article img"
    page.wait_for_selector(kind, state="attached")
    page.close()


def test_the_chinese_page_is_chinese(visit):
    page = visit("zh_CN/index.html").page
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    assert re.search(r"[\u4e00-\u9fff]", page.locator("article").inner_text())
    page.close()


def test_the_search_for_cross_attention_finds_the_annotated_page_first(visit):
    page = visit("search.html?q=cross+attention").page
    results = page.locator("#search-results ul.search li > a:first-of-type")
    page.get_by_text("Search finished").wait_for()
    assert "annotated/unet/attention.html" in results.first.get_attribute("href")
    page.close()


@pytest.mark.parametrize("size", ["desktop", "phone"])
@pytest.mark.parametrize(
    ("target", "shows"), [("start.html", "labml-sd txt2img"), ("flow.html", "img.flow")]
)
def test_first_steps_and_explanation_are_one_click_from_the_start_page(
    visit, size, target, shows
):
    page = visit("index.html", size).page
    page.locator(f"article .sd-card:has(a[href='{target}'])").first.click()
    page.wait_for_url(f"**/{target}")
    shown = page.locator(shows) if shows.startswith("img") else page.get_by_text(shows)
    assert shown.first.is_visible()
    page.close()
