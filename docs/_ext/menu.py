"""Sphinx extension: names for the arrows of the menu, for screen readers."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def name_arrows(
    app: Sphinx, page: str, _template: str, context: dict, _tree: nodes.document | None
) -> None:
    """Name each arrow after the link beside it; the theme gives it no name."""
    draw = context["generate_toctree_html"]

    def with_names(**options: object) -> Any:
        menu = draw(**options)  # the theme caches the menu by exactly these arguments
        for arrow in menu.select("a + details > summary"):
            arrow["aria-label"] = arrow.parent.find_previous_sibling("a").get_text()
        return menu

    context["generate_toctree_html"] = with_names


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("html-page-context", name_arrows, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
