r"""Read a pickle without letting it do anything: data can be built, and no more.

A pickle is a program. Python's own reader imports whatever modules the program names and calls
what it finds there, which is how a checkpoint can run commands. This reader steps through the
few opcodes that torch.save writes, and knows plain data, tensors, and stand-ins for what else
training code leaves in a checkpoint. It imports nothing and calls nothing. Any other opcode,
name or call is an error.

Maps       the bytes of a pickle -> numbers, strings, tuples, lists, dicts, StoredTensor, Name, Inert
Tests      tests/checkpoint/files/test_read_pickle.py, tests/checkpoint/test_hostile.py
"""

import mmap
from dataclasses import dataclass
from typing import Any

from labml_sd.checkpoint.files.pickle_machine import PickleMachine
from labml_sd.checkpoint.files.pickle_opcodes import OPCODES
from labml_sd.checkpoint.files.pickle_values import DamagedError, PickleError
from labml_sd.checkpoint.printable import shown

MAX_BYTES = 2**24  # the official v1 pickle has under 1 MB; the numbers lie outside
# A tensor takes 30 steps, so this is 16,000 tensors; a training checkpoint with its optimizer
# has some 4,500.
MAX_STEPS = 500_000


@dataclass
class PickleReader(PickleMachine):
    """A machine that reads one pickle after another. Names, storages and steps add up."""

    n_steps: int = 0

    def load(self, data: bytes | mmap.mmap, start: int = 0, end: int | None = None) -> Any:
        """Read the one pickle that begins at `start`, up to its STOP. Raises PickleError."""
        end = len(data) if end is None else end
        self.data, self.at, self.end = data, start, min(end, start + MAX_BYTES)
        self.stack, self.below, self.memo = [], [], {}
        try:
            while (code := self.take(1)) != b".":
                self.n_steps += 1
                if self.n_steps > MAX_STEPS:
                    raise PickleError(f"a pickle of more than {MAX_STEPS:,} steps")
                handler = OPCODES.get(code)
                if handler is None:
                    raise PickleError(f"opcode {code.hex()}, which torch.save does not write")
                handler(self)
            return self.stack.pop()
        except DamagedError as error:
            if self.end < end:
                raise PickleError(f"a pickle of over {MAX_BYTES:,} bytes") from error
            raise
        except PickleError:
            raise
        except (ValueError, IndexError, KeyError, TypeError) as error:
            raise DamagedError(f"its pickle: {shown(error)}") from error
