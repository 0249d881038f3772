"""Sphinx extension: the table of settings, generated from the fields of `Settings`."""

from docutils import nodes
from pages import PACKAGE
from parity import table
from settings_rows import settings
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class SettingsTable(SphinxDirective):
    """```{settings-table}```: every setting of a call with its flags and its default."""

    def run(self) -> list[nodes.Node]:
        """One row for each setting."""
        for path in PACKAGE.files.values():
            if path.parent.name == "settings":
                self.env.note_dependency(path)
        head = ("flag", "also", "default", "meaning")
        return self.parse_text_to_nodes(table("24 22 18 36", head, *settings()))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.add_directive("settings-table", SettingsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
