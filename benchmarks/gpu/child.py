"""The process of one stage: `python -m gpu.child MODULE` runs its `measure`."""

import argparse
import importlib
import sys
import traceback
from pathlib import Path

import torch

from gpu.context import Context, failure


def main() -> int:
    """An error is a finding too; the log has all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--variant", default="")
    parser.add_argument("--until", type=float, required=True)
    parser.add_argument("--dry-run", action="store_true")
    for folder in ("out", "work", "results"):
        parser.add_argument(f"--{folder}", type=Path, required=True)
    given = vars(parser.parse_args())
    module, variant = given.pop("module"), given.pop("variant")
    context = Context(**given)
    if context.dry_run:
        torch.set_num_threads(1)  # the CPU has other work too
    try:
        measure = importlib.import_module(module).measure
        measure(context, *([variant] if variant else []))
    except Exception as error:
        traceback.print_exc()
        context.record("error", message=failure(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
