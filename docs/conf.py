"""Settings of the documentation: `sphinx-build docs docs/_build/html`, without network."""

import json
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import labml_sd  # noqa: E402 - that of the checkout, whatever is installed

project = "labml_sd"
author = "The labml_sd authors"
project_copyright = "2026, The labml_sd authors"
release = labml_sd.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_math_dollar",  # $...$ in docstrings; `prepare` below does $$...$$
    "sphinx_codeautolink",
    "sphinx_copybutton",
    "sphinx_design",  # the cards of the first page
    "annotated_source",  # docs/_ext
    "languages",
    "menu",
    "settings_table",
]
exclude_patterns = ["_build", "speed_table*.md"]  # parts of speed.md

# Chinese: the same command with `-D language=zh_CN`, into the folder zh_CN below the English
# pages.
locale_dirs = ["locale"]
gettext_compact = False  # one catalogue for each page
gettext_location = False  # line numbers would change with every edit
templates_path = ["_templates"]

# Sphinx reads pages below its own folder only. Not a symbolic link: Windows clones have none.
shutil.rmtree(HERE / "notebooks", ignore_errors=True)
(HERE / "notebooks").mkdir()
for path in (HERE.parent / "notebooks").glob("*.ipynb"):
    notebook = json.loads(path.read_text(encoding="utf-8").replace("../docs/", "../"))
    # The cell that installs the package is of no use on a page.
    notebook["cells"] = [
        cell for cell in notebook["cells"] if "%pip install" not in "".join(cell["source"])
    ]
    (HERE / "notebooks" / path.name).write_text(json.dumps(notebook), encoding="utf-8")

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "alert"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # otherwise widgets load scripts from a CDN
mathjax_path = "mathjax/tex-svg.js"  # MathJax 3.2.2 in one file, fonts inside
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load more files

default_role = "code"  # `x` in docstrings, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 100
codeautolink_autodoc_inject = False
copybutton_exclude = ".linenos, .gp"

html_theme = "sphinx_book_theme"
html_title = "labml_sd"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_favicon = "_static/favicon.svg"  # without one, browsers request a missing file
html_context = {"default_mode": "auto"}  # if unset, every page logs an error
html_copy_source = False
html_theme_options = {
    "article_header_end": ["language.html", "article-header-buttons.html"],
    "collapse_navbar": True,  # a complete menu on every page triples the time of a build
    "navbar_persistent": [],  # otherwise there are two search boxes
    "use_download_button": False,
    "show_toc_level": 2,
}


def prepare(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Show the header of a module as it is, and $$...$$ as formulas at any indentation."""
    if what == "module" and "" in lines:
        gap = lines.index("")
        lines[gap:] = [
            "",
            ".. code-block:: text",
            "",
            *(f"    {line}" for line in lines[gap + 1 :]),
            "",
        ]
        return
    code_or_formula = r"`[^`\n]*`|[ ]*\$\$(.+?)\$\$"
    text = re.sub(code_or_formula, display_formula, "\n".join(lines), flags=re.DOTALL)
    lines[:] = text.split("\n")


def display_formula(match: re.Match[str]) -> str:
    """A formula as a directive on separate lines; code as it is."""
    if match[1] is None:
        return match[0]
    return f"\n\n.. math:: {' '.join(match[1].split())}\n\n"


def readable_defaults(
    _app: Sphinx,
    _what: str,
    _name: str,
    _obj: object,
    _opt: object,
    signature: str,
    returns: str,
) -> tuple[str, str]:
    """Default factories of dataclasses as `...`, without which a signature cannot be parsed."""
    return signature and signature.replace("<factory>", "..."), returns


def setup(app: Sphinx) -> None:
    """Register the hooks; `prepare` must run before those of maths and napoleon."""
    app.connect("autodoc-process-docstring", prepare, priority=400)
    app.connect("autodoc-process-signature", readable_defaults)
