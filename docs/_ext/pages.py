"""The generated pages: one for each module, and one for each test file that a page names."""

import ast
import re
from functools import cache
from pathlib import Path

import holds
from docutils import nodes
from names import Package
from rows import Row, definitions, header, markdown, split
from sphinx import addnodes

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Package(ROOT / "labml_sd")
FACTS = ROOT / "docs/facts.toml"
FOLDER = "annotated"  # below docs/, generated


@cache
def rows_of(module: str) -> list[Row]:
    """The rows of a module, split once."""
    return split(PACKAGE.files[module].read_text("utf-8"))


@cache
def notebooks_of() -> dict[str, list[str]]:
    """For each module: the notebooks that use it."""
    return PACKAGE.used_by(ROOT / "notebooks")


@cache
def tests() -> list[holds.Test]:
    """All tests, read once."""
    return holds.tests(ROOT / "tests")


def title_of(path: Path) -> str:
    """The path of a file, relative to the package or to the checkout."""
    return path.relative_to(
        PACKAGE.folder if PACKAGE.folder in path.parents else ROOT
    ).as_posix()


def heading(path: Path) -> str:
    """The heading of a page: for a package the name of its folder."""
    return title_of(path).replace("__init__.py", "") or f"{PACKAGE.folder.name}/"


def docname_of(path: Path) -> str:
    """The page of a file."""
    return f"{FOLDER}/{title_of(path).removesuffix('.py')}"


def link(path: Path, text: str = "") -> str:
    """A link to the page of a file."""
    return f"[`{text or title_of(path)}`](/{docname_of(path)}.md)"


def link_to_row(module: str, name: str) -> str:
    """A link to the row that defines a name; to the top of the page without a name."""
    page = f"/{docname_of(PACKAGE.files[module])}.md"
    return (
        f"[`{name}`]({page}#{name})"
        if name
        else f"[`{title_of(PACKAGE.files[module])}`]({page})"
    )


def link_to_test(test: holds.Test) -> str:
    """A link to the line of a test, with its name in words."""
    return f"[{test.sentence}](/{docname_of(test.path)}.md#L-{test.line})"


def short(path: Path) -> str:
    """A short name for lists; that of a package ends with a slash."""
    return path.name if path.name != "__init__.py" else f"{path.parent.name}/"


def reference(kind: str, candidates: list[str], content: nodes.Node) -> nodes.Node:
    """A link completed by `resolve` in annotated_source.py; plain text without a target."""
    pending = addnodes.pending_xref(
        "", content, refdomain="", reftype=kind, refexplicit=True, refwarn=False
    )
    pending["reftarget"] = candidates[0]
    pending["candidates"] = candidates
    return pending


def toctree(paths: list[Path]) -> str:
    """Entries of the menu."""
    entries = "\n".join(f"{short(path)} </{docname_of(path)}>" for path in paths)
    return f"```{{toctree}}\n:hidden:\n\n{entries}\n```\n" if paths else ""


def children(module: str) -> list[Path]:
    """The files and packages directly below a package."""
    depth = module.count(".") + 1
    below = [
        name
        for name in PACKAGE.files
        if name.startswith(f"{module}.") and name.count(".") == depth
    ]
    return [PACKAGE.files[name] for name in below]


def keywords(module: str) -> str:
    """The words inside names, for the search: CrossAttention as cross attention."""
    tree = ast.parse(PACKAGE.files[module].read_text("utf-8"))
    names = [module, *(name for name, _ in definitions(tree))]
    words = re.split(r"(?<=[a-z0-9])(?=[A-Z])|[._]+", ".".join(names))
    return ", ".join(
        dict.fromkeys(word.lower() for word in words if word)
    )  # single words: each is a term


def files_named(text: str, module: str) -> dict[str, list[Path]]:
    """Words that name files, or folders of tests, relative to a module, with their files."""
    found = {}
    for word in re.findall(r"[\w/]+(?:\.py|/)", text):
        for base in (PACKAGE.files[module].parent, PACKAGE.folder, ROOT):
            path = base / word
            if path.is_file() or (word.startswith("tests/") and path.is_dir()):
                found[word] = [path] if path.is_file() else sorted(path.glob("test_*.py"))
                break
    return found


def docstring(path: Path) -> str:
    """The docstring of a file."""
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def first_sentence(path: Path) -> str:
    """The first line of a module's docstring."""
    return markdown(rows_of(PACKAGE.dotted(path))[0].notes[0].text.partition("\n")[0])


def tests_named() -> set[Path]:
    """Test files that a module or page names, that have a `holds` marker, or parity tests."""
    tables = {module: header(rows_of(module)[0].notes[0].text)[1] for module in PACKAGE.files}
    named = [files_named(table.get("Tests", ""), module) for module, table in tables.items()]
    found = {file for words in named for files in words.values() for file in files}
    found |= {test.path for test in tests() if test.holds}
    found |= set((ROOT / "tests/parity").glob("test_*.py"))
    text = "\n".join(page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
    found |= {ROOT / name for name in re.findall(r"\(\.\./(tests/[\w/]+\.py)\)", text)}
    named = set(re.findall(r"\{test\}`([^`]+)`", text))
    return {path for path in found if path.is_file()} | {
        test.path for test in tests() if test.sentence in named
    }


def module_page(module: str) -> str:
    """The source of a module's page."""
    meta = f'---\nmyst:\n  html_meta:\n    keywords: "{keywords(module)}"\n---\n\n'
    title = heading(PACKAGE.files[module])
    return f"{meta}# {title}\n\n```{{annotated-source}} {module}\n```\n"


def test_page(path: Path) -> str:
    """The source of a test file's page; the search omits it, readers search for modules."""
    name = title_of(path)
    meta = "---\norphan: true\nnosearch: true\n---\n\n"
    return f"{meta}# {name}\n\n```{{annotated-file}} {name}\n```\n"


def write(docs: Path) -> None:
    """Write a page for each module and each named test file; keep unchanged pages."""
    texts = {docname_of(path): module_page(module) for module, path in PACKAGE.files.items()}
    texts |= {docname_of(path): test_page(path) for path in tests_named()}
    for old in (docs / FOLDER).rglob("*.md"):
        if old.relative_to(docs).with_suffix("").as_posix() not in texts:
            old.unlink()
    for docname, text in texts.items():
        page = docs / f"{docname}.md"
        if not page.exists() or page.read_text("utf-8") != text:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
