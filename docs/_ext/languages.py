"""Sphinx extension: a language switch on every page, and a search for Chinese words."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.search.en import SearchEnglish

CHINESE = "zh_CN"  # the language, and the folder of its pages below the English pages
NOTE = '<div class="admonition note"><p>本页暂无中文译文，以下是英文原文。</p></div>\n'


def catalogue(app: Sphinx, page: str) -> Path:
    """The translation of a page; a page without one is shown in English."""
    return app.srcdir / "locale" / CHINESE / "LC_MESSAGES" / f"{page}.po"


def name_search_box(_app: Sphinx, config: Config) -> None:
    """Set the one text of the theme that cannot be translated by a catalogue."""
    if config.language == CHINESE:
        config.html_theme_options["search_bar_text"] = "搜索..."


def keep_translated(app: Sphinx, error: Exception | None) -> None:
    """Delete the templates of pages without a catalogue after a gettext build."""
    if app.builder.name == "gettext" and not error:
        for template in app.outdir.rglob("*.pot"):
            page = template.relative_to(app.outdir).with_suffix("").as_posix()
            if not catalogue(app, page).exists():
                template.unlink()


def add_switch(
    app: Sphinx, page: str, _template: str, context: dict, tree: nodes.document | None
) -> None:
    """Add the link to the page in the other language, for `language.html` and the head."""
    chinese = app.config.language == CHINESE
    code, name, folder = ("en", "English", "..") if chinese else ("zh-CN", "简体中文", CHINESE)
    there = context["pathto"](f"{folder}/{app.builder.get_target_uri(page)}", 1)
    context |= {"other_page": there, "other_language": code, "other_name": name}
    in_head = f'<link rel="alternate" hreflang="{code}" href="{there}" />'
    context["metatags"] = context.get("metatags", "") + in_head
    if chinese and tree is not None:
        body = context["body"]
        translated = catalogue(app, page).exists()
        context["body"] = finish(body) if translated else f'{NOTE}<div lang="en">{body}</div>'


def finish(body: str) -> str:
    """Translate the headings of folded solutions, which are HTML and in no catalogue."""
    return body.replace("<summary>Solution</summary>", "<summary>参考答案</summary>")


class ChineseSearch(SearchEnglish):
    """Chinese has no spaces: split index and query into words and pairs of characters."""

    lang = "zh"
    js_splitter_code = r"""
var splitQuery = (query) => {  // `var`, because searchtools.js has declared it before
  const words = query.match(/[\u4e00-\u9fff]+|((?![\u4e00-\u9fff])[\p{L}\p{N}_])+/gu) || [];
  const pairs = (word) => [...word].slice(1).map((last, i) => word[i] + last);
  return words.flatMap((word) => /^[\u4e00-\u9fff]{2,}$/.test(word) ? pairs(word) : [word]);
};
"""

    def split(self, text: str) -> list[str]:
        """Words of the index; single characters too, for a query of one character."""
        found = []
        for word in re.findall(r"[\u4e00-\u9fff]+|[^\W\u4e00-\u9fff]+", text):
            pairs = [word[i : i + 2] for i in range(len(word) - 1)]
            found += [*word, *pairs] if "\u4e00" <= word[0] <= "\u9fff" else [word]
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("config-inited", name_search_box)
    app.connect("html-page-context", add_switch)
    app.connect("build-finished", keep_translated)
    app.add_search_language(ChineseSearch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
