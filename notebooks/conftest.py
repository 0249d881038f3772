"""pytest also runs the solutions of exercises, and the notebooks share a kernel.

A kernel takes two seconds to start and to import PyTorch. In a kernel of its own each
notebook is run by tests/notebooks/test_run_all.py.
"""

import os
import re
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import nbformat
import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

os.environ["OMP_NUM_THREADS"] = "1"  # for the kernels: more threads round differently

# Linux' C library returns blocks above 32 MB to the system as soon as they are freed.
# A kernel that keeps them decodes 16 images in half the time. Others ignore the names.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
}
# What an earlier notebook leaves behind in a kernel, as in a new one.
AS_NEW = """\
%reset -f
import os, torch
os.chdir({folder!r})
torch.manual_seed({seed})
del os, torch
"""
PYTORCHS_SEED = 67280421310721  # of a new process


class NotebookWithSolutions(IPyNbFile):
    """nbval's notebook, then the solutions of its exercises, in the kernel of all."""

    shared: ClassVar[list[RunningKernel]] = []

    def setup(self) -> None:
        """Start the kernel, unless it runs; make it as new."""
        if not (self.shared and self.shared[-1].is_alive()):
            with patch.dict(os.environ, KEEP_MEMORY):
                super().setup()
            self.shared.append(self.kernel)
        self.kernel = self.shared[-1]
        self.setup_sanitize_files()
        code = AS_NEW.format(folder=str(self.path.parent), seed=PYTORCHS_SEED)
        reply = self.kernel.kc.execute_interactive(
            code, store_history=False, timeout=60
        )
        assert reply["content"]["status"] == "ok", reply["content"]

    def teardown(self) -> None:
        """Leave the kernel to the next notebook."""
        self.kernel = None

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


def pytest_sessionfinish() -> None:
    """Stop the kernel."""
    for kernel in NotebookWithSolutions.shared:
        if kernel.is_alive():
            kernel.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path, parent: pytest.Collector
) -> Generator[None, Any, Any]:
    """Exchange nbval's notebooks for ours."""
    found = yield
    if any(isinstance(collector, IPyNbFile) for collector in found):
        return [NotebookWithSolutions.from_parent(parent, path=file_path)]
    return found
