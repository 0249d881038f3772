r"""The processes that a launcher started to draw one list together.

They exchange nothing, so that a process that dies stops no other.

Maps       the environment -> the number of this process, the count of all
Reference  torchrun and accelerate launch: WORLD_SIZE and RANK in the environment
Tests      tests/cli/test_processes.py, tests/cli/test_lists.py
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labml_sd.errors import GenerationError


def rank_and_count() -> tuple[int, int]:
    """The number of this process, and how many there are: (0, 1) without a launcher.

    Raises `GenerationError`.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    rank = os.environ.get("RANK", "") if count != "1" else "0"
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise GenerationError(
            f"RANK is {rank!r} and WORLD_SIZE is {count!r}: set both, "
            "RANK from 0 to WORLD_SIZE - 1, or neither"
        )
    return int(rank), int(count)


@contextmanager
def beside_others(folder: Path, count: int) -> Iterator[Callable[[], None]]:
    """Yield a function that waits until the other processes have left this block, or died.

    A process that failed calls it before it ends: launchers end all processes of a machine as
    soon as one ends with an error. Each process holds a shared lock of the folder, which ends
    with the process; the exclusive lock is given when no other process holds one. Without locks
    (Windows, some file systems) the function returns at once.
    """
    try:
        import fcntl
    except ImportError:
        count = 1
    if count == 1:
        yield lambda: None
        return

    def lock(kind: int) -> None:
        with suppress(OSError):
            fcntl.flock(handle, kind)

    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(fcntl.LOCK_SH)
        yield lambda: lock(fcntl.LOCK_EX)
    finally:
        os.close(handle)
