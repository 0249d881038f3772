"""Sphinx extension: the arrows of the menu have names, for readers who listen to the page."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def name_arrows(
    app: Sphinx, page: str, _template: str, context: dict, _tree: nodes.document | None
) -> None:
    """An arrow is called after the link that it stands beside. The theme leaves it without a name."""
    draw = context["generate_toctree_html"]

    def with_names(**options: object) -> Any:
        menu = draw(
            **options
        )  # kept by the theme under exactly these arguments, as it keeps its own call
        for arrow in menu.select("a + details > summary"):
            arrow["aria-label"] = arrow.parent.find_previous_sibling("a").get_text()
        return menu

    context["generate_toctree_html"] = with_names


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", name_arrows, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
