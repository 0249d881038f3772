"""Loads a file within a limit of memory that it may allocate, and prints what it predicts.

`python full_size_child.py FILE DTYPE BYTES`, in a process of its own. A mapped file counts: the
safetensors library maps it as memory that could be written to.
"""

import resource
import sys
from pathlib import Path

import torch

import labml_sd as sd


def allocated() -> int:
    """The bytes of this process that are its own and may be written to."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmData:"))
    return 1024 * int(kilobytes)


def main() -> None:
    """Import and load something small first, so that only the file itself is counted."""
    path, dtype, extra = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    sd.txt2img(sd.load_model(device="cpu"), "a", steps=1, progress=False)
    limit = allocated() + Path(path).stat().st_size + extra
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    model = sd.load_model(path, device="cpu", dtype=dtype)
    print(model.config.name)


if __name__ == "__main__":
    main()
