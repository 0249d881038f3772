"""pytest also runs the solutions of exercises, which are in the text of a notebook."""

import os
import re
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

os.environ["OMP_NUM_THREADS"] = "1"  # for the kernels: more threads round differently

# Linux' C library returns blocks above 32 MB to the system as soon as they are freed.
# A kernel that keeps them decodes 16 images in half the time. Others ignore the names.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}


class NotebookWithSolutions(IPyNbFile):
    """nbval's notebook, then the solutions of its exercises, in the same kernel."""

    def setup(self) -> None:
        """Start the kernel."""
        with patch.dict(os.environ, KEEP_MEMORY):
            super().setup()

    def collect(self) -> Iterator[IPyNbCell]:
        """The cells of the notebook, and one for each solution."""
        yield from super().collect()
        prose = "\n".join(
            cell.source for cell in self.nb.cells if cell.cell_type == "markdown"
        )
        folded = re.findall(
            r"<summary>Solution</summary>(.*?)</details>", prose, re.DOTALL
        )
        for number, solution in enumerate(folded, start=1):
            code = "\n".join(
                re.findall(
                    r"^```python\n(.*?)^```$", solution, re.DOTALL | re.MULTILINE
                )
            )
            cell = nbformat.v4.new_code_cell(code)
            unchecked: defaultdict[str, bool] = defaultdict(bool)
            yield IPyNbCell.from_parent(
                self,
                name=f"Solution {number}",
                cell_num=1000 + number,
                cell=cell,
                options=unchecked,
            )


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, Any, Any]:
    """Exchange nbval's notebooks for ours."""
    found = yield
    if any(isinstance(collector, IPyNbFile) for collector in found):
        return [NotebookWithSolutions.from_parent(parent, path=file_path)]
    return found
