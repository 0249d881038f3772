"""Where a name of the package is defined, and which notebooks use it; read with `ast`."""

import ast
import json
import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path


class Package:
    """The modules of a package, by dotted name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {self.dotted(path): path for path in sorted(folder.rglob("*.py"))}

    def dotted(self, path: Path) -> str:
        """The dotted name of a file."""
        parts = path.relative_to(self.folder.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def imports(self) -> dict[str, dict[str, str]]:
        """For each module: local name -> dotted name, for the names it imports."""
        return {
            name: imported(ast.parse(path.read_text("utf-8")))
            for name, path in self.files.items()
        }

    def home(self, name: str) -> tuple[str, str]:
        """The module that defines a name, and its name there: `labml_sd.unet.unet`, `UNet`."""
        module, rest = name, ""
        while module and module not in self.files:
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
        first, _, others = rest.partition(".")
        origin = self.imports.get(module, {}).get(first, "")
        if not origin.startswith(f"{self.folder.name}.") or origin == name:
            return module, rest
        return self.home(f"{origin}.{others}" if others else origin)

    def public_names(self, module: str, name: str) -> list[str]:
        """The names under which a definition may be documented, the longest first."""
        packages = [module]
        while "." in packages[-1]:
            packages.append(packages[-1].rpartition(".")[0])
        return [
            f"{above}.{name}"
            for above in packages
            if self.home(f"{above}.{name}") == (module, name)
        ]

    def used_by(self, notebooks: Path) -> dict[str, list[str]]:
        """For each module: the notebooks that import it or use a name defined in it."""
        found = defaultdict(list)
        for path in sorted(notebooks.glob("*.ipynb")):
            for module in self.used(notebook_tree(path)):
                found[module].append(path.stem)
        return found

    def used(self, tree: ast.AST) -> set[str]:
        """The modules whose names a program imports or reaches by attribute access."""
        names = imported(tree)
        chains = (
            dotted_name(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
        )
        reached = [*names.values()]
        for chain in filter(None, chains):
            root, _, rest = chain.partition(".")
            reached += [f"{names[root]}.{rest}"] if root in names else []
        modules = {self.home(name)[0] for name in reached}
        modules |= {origin.rpartition(".")[0] for origin in names.values()}
        return (modules & self.files.keys()) - {self.folder.name}


def imported(tree: ast.AST) -> dict[str, str]:
    """Local name -> dotted name, for every import of a program."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}"
                for alias in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
    return found


def dotted_name(node: ast.expr) -> str:
    """`a.b.c` as text; empty if the chain does not start with a name."""
    if isinstance(node, ast.Name):
        return node.id
    inner = dotted_name(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner else ""


def notebook_tree(path: Path) -> ast.Module:
    """The code of a notebook as one program, without its magics."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", code, flags=re.MULTILINE))
