"""Read hostile pickles in a process of their own and print what they touched, as JSON.

`python hostile_child.py python FOLDER` gives each gadget to Python's own reader, in a fork of
its own. `python hostile_child.py ours FOLDER` gives all of them, in every container, to our
reader and to torch's alone, and counts what Python's audit hook hears in ours: imports,
compiled code, opened files, processes, sockets.
"""

import json
import os
import pickle
import socket
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from hostile import (
    CONTAINERS,
    GADGETS,
    HARMLESS_TO_PYTHON,
    STYLES,
    Canary,
    assemble,
    in_container,
    opcodes,
    whole,
)


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


def gadgets(folder: Path, port: int) -> dict[str, tuple[Canary, dict[str, bytes]]]:
    """{gadget: (its canary, {style: opcodes})}; those that need no luck begin with a space."""
    found = {}

    def canary() -> Canary:
        place = folder / "canaries" / f"{len(found)}"
        place.mkdir(parents=True)
        return Canary(place, port)

    for line in GADGETS:
        here = canary()
        found[line] = here, {style: assemble(line[2:], here, style) for style in STYLES}
    for name in opcodes(Canary(folder)):
        here = canary()
        found[f"  {name}"] = here, {"reduce2": opcodes(here)[name]}
    for name, body in HARMLESS_TO_PYTHON.items():
        found[f"- {name}"] = canary(), {"reduce2": body}
    return found


def read_with_python(data: bytes, canary: Canary) -> str:
    """Fork and unpickle; "absent" if Python lacks the module, else "read"."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        opener = canary.folder.parent.parent / f"browser{canary.folder.name}"
        opener.write_text(f"#!/bin/sh\n{canary.values()['command']}\n")
        opener.chmod(0o700)
        os.environ["BROWSER"] = str(opener)
        code = 0
        try:
            pickle.loads(data)
        except (ModuleNotFoundError, AttributeError):
            code = 3
        except BaseException:
            code = 0
        if "CANARY" in os.environ or os.system('test -n "$CANARY_IN_C"') == 0:
            canary.folder.joinpath("environment").touch()
        sys.exit(code)
    _, status = os.waitpid(child, 0)
    return "absent" if os.waitstatus_to_exitcode(status) == 3 else "read"


def fired(canary: Canary, listener: Listener, before: int) -> bool:
    """Wait for the canary: commands in the background may take long on a busy machine."""
    for _ in range(6000):
        if any(canary.folder.iterdir()) or listener.n_calls > before:
            return True
        time.sleep(0.01)
    return False


def run_python(folder: Path) -> dict[str, str]:
    listener = Listener()
    found = {}
    for line, (canary, bodies) in gadgets(folder, listener.port).items():
        style = "reduce4" if "reduce4" in bodies and "__builtin__" not in line else "reduce2"
        styles = ("inst", "obj") if line == GADGETS[0] else (style,)
        for style in styles if line.startswith(" ") else ():
            before = listener.n_calls
            said = read_with_python(whole(bodies[style], style), canary)
            if said == "read" and fired(canary, listener, before):
                said = "fired"
            found[f"{line} {style}"] = said
            for touched in canary.folder.iterdir():
                os.system(f"rm -r {touched}")
    return found


def run_ours(folder: Path) -> dict[str, Any]:
    import torch

    from labml_sd.checkpoint.files.open_file import open_weights
    from labml_sd.errors import CheckpointError

    listener = Listener()
    files: list[tuple[str, Path]] = []
    for i, (line, (_, bodies)) in enumerate(gadgets(folder, listener.port).items()):
        for style, body in bodies.items():
            for container in CONTAINERS if style in ("reduce2", "reduce4") else ("zip",):
                path = folder / f"{i}-{style}-{container}"
                path.write_bytes(in_container(body, style, container))
                files.append((line, path))
    for container in ("zip", "stream"):  # whatever is imported on first use is imported now
        harmless = folder / f"harmless-{container}"
        harmless.write_bytes(in_container(b"N", "reduce2", container))
        open_weights(harmless).read("a")

    heard: list[str] = []
    listening = [False]
    own = {str(path) for _, path in files} | {str(n) for n in range(-1, 1024)}  # open files

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if listening[0] and not (event in ("open", "mmap.__new__") and str(args[0]) in own):
            heard.append(f"{event} {args[:2]}")

    sys.addaudithook(hear)
    outcomes: dict[str, set[str]] = {}
    for name, path in files:
        listening[0] = True
        try:
            open_weights(path)
            said = "loaded"
        except CheckpointError as error:
            said = "refused" if "\n" not in str(error) else "lines"
        except BaseException as error:
            said = type(error).__name__
        listening[0] = False
        outcomes.setdefault(said, set()).add(f"{name} {path.name}")
        if "000000" not in name:  # torch alone allocates what it is told to
            with suppress(Exception), warnings.catch_warnings(action="ignore"):
                torch.load(path, weights_only=True)
    changed = {"CANARY", "CANARY_IN_C"} & os.environ.keys()
    touched = [str(path) for path in (folder / "canaries").glob("*/*")]
    return {
        "outcomes": {said: sorted(names)[:20] for said, names in outcomes.items()},
        "n_files": len(files),
        "heard": heard[:20],
        "touched": touched + sorted(changed) + ["socket"] * listener.n_calls,
    }


if __name__ == "__main__":
    place = Path(sys.argv[2])
    print(json.dumps(run_python(place) if sys.argv[1] == "python" else run_ours(place)))
