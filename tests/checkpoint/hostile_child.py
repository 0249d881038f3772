"""Read hostile pickles in a process of their own and say what they touched, as JSON on standard output.

`python hostile_child.py python FOLDER` gives each gadget to Python's own reader, in a fork of
its own; with `all` behind it also those of torch and numpy, which take a minute. `python
hostile_child.py ours FOLDER` gives all of them, in every container, to ours; it also counts
what Python's audit hook hears: imports, compiled code, opened files, processes, sockets.
"""

import itertools
import json
import os
import pickle
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from hostile import CONTAINERS, GADGETS, STYLES, Canary, Gadget, assemble, in_container, whole


class Listener:
    """Counts connections to a port of this machine, and hangs up."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.n_calls = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            caller, _ = self.socket.accept()
            self.n_calls += 1
            caller.close()


def canary_of(folder: Path, i: int, port: int) -> Canary:
    place = folder / "canaries" / f"{i}"
    place.mkdir(parents=True)
    return Canary(place, port)


def pickles(gadget: Gadget, canary: Canary) -> dict[str, bytes]:
    """The gadget's body by style; a body of raw opcodes has one style only."""
    value = gadget.make(canary)
    styles = ("reduce2",) if isinstance(value, bytes) else STYLES
    return {style: assemble(value, style) for style in styles}


def read_with_python(data: bytes, canary: Canary) -> str:
    """Fork, unpickle, and say "absent" when a module is not there, else "read"."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        os.dup2(0, 2)
        opener = canary.folder.parent.parent / f"browser{canary.folder.name}"
        opener.write_text(f"#!/bin/sh\n{canary.command}\n")
        opener.chmod(0o700)
        os.environ["BROWSER"] = str(opener)
        code = 0
        try:
            pickle.loads(data)
        except (ModuleNotFoundError, AttributeError):
            code = 3
        except BaseException:
            code = 0
        changed = "CANARY" in os.environ or os.system('test -n "$CANARY_IN_C"') == 0
        if changed:
            canary.folder.joinpath("environment").touch()
        sys.exit(code)
    _, status = os.waitpid(child, 0)
    return "absent" if os.waitstatus_to_exitcode(status) == 3 else "read"


def fired(canary: Canary, listener: Listener, before: int, patience: float) -> bool:
    """Look for the canary; commands in the background need a moment."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if any(canary.folder.iterdir()) or listener.n_calls > before:
            return True
        time.sleep(0.01)
    return False


def run_python(folder: Path, everything: bool) -> dict[str, str]:
    listener = Listener()
    found = {}
    for i, gadget in enumerate(GADGETS):
        if not gadget.fires or (gadget.name.startswith(SLOW) and not everything):
            continue
        canary = canary_of(folder, i, listener.port)
        before = listener.n_calls
        bodies = pickles(gadget, canary)
        style = (
            "reduce4" if "reduce4" in bodies and "Python 2" not in gadget.name else "reduce2"
        )
        said = read_with_python(whole(bodies[style], style), canary)
        touched = fired(canary, listener, before, 0.05 if said == "absent" else 3)
        found[gadget.name] = "fired" if touched else said
    for style in ("inst", "obj"):
        canary = canary_of(folder, 1000 + len(style), listener.port)
        read_with_python(whole(assemble(GADGETS[0].make(canary), style), style), canary)
        found[style] = "fired" if fired(canary, listener, 0, 3) else "read"
    return found


def run_ours(folder: Path) -> dict[str, Any]:
    from labml_sd.checkpoint.files.open_file import open_weights
    from labml_sd.checkpoint.files.read_torch import read_torch
    from labml_sd.errors import CheckpointError

    listener = Listener()
    files: list[tuple[str, Path]] = []
    for i, gadget in enumerate(GADGETS):
        for style, body in pickles(gadget, canary_of(folder, i, listener.port)).items():
            for container in CONTAINERS if style in ("reduce2", "reduce4") else ("zip",):
                path = folder / f"{i}-{style}-{container}"
                path.write_bytes(in_container(body, style, container))
                files.append((gadget.name, path))
    harmless = folder / "harmless"
    harmless.write_bytes(in_container(b"N", "reduce2", "zip"))
    open_weights(harmless).read("a")  # whatever is imported on first use is imported now

    heard: list[str] = []
    listening = [False]
    own = {str(path) for _, path in files}

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if listening[0] and not (
            event in ("open", "mmap.__new__") and str(args[0]) in (own | {"-1"} | FILES)
        ):
            heard.append(f"{event} {args[:2]}")

    sys.addaudithook(hear)
    outcomes: dict[str, set[str]] = {}
    for (name, path), reader in itertools.product(files, (open_weights, read_torch)):
        listening[0] = True
        try:
            reader(path)
            said = "loaded"
        except CheckpointError as error:
            said = "refused" if "\n" not in str(error) else "lines"
        except BaseException as error:
            said = type(error).__name__
        listening[0] = False
        outcomes.setdefault(said, set()).add(f"{name} {path.name}")
    touched = [str(p) for p in (folder / "canaries").glob("*/*")]
    changed = {"CANARY", "CANARY_IN_C"} & os.environ.keys()
    return {
        "outcomes": {said: sorted(names)[:20] for said, names in outcomes.items()},
        "n_files": len(files),
        "heard": heard[:20],
        "touched": touched + sorted(changed) + ["socket"] * listener.n_calls,
    }


SLOW = ("torch", "numpy", "gadget inside an array")  # their imports take seconds
FILES = {str(n) for n in range(3, 1024)}  # mmap is told the number of an open file

if __name__ == "__main__":
    place = Path(sys.argv[2])
    print(
        json.dumps(
            run_python(place, "all" in sys.argv) if sys.argv[1] == "python" else run_ours(place)
        )
    )
