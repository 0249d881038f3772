"""Damage a weights file in thousands of ways and read each.

`python tests/checkpoint/fuzz.py ckpt 10000 0` reads the mutants 0 to 9999 of seed 0, prints
what came of them as JSON, and exits with 1 when something is wrong. Wrong is: an error other
than CheckpointError, one of several lines, more than 200 MB of memory, a file accepted that the
reference library refuses, or numbers that are not the library's. The reference is
`safetensors`, and `torch.load(weights_only=True)`.

A mutant is a function of kind, seed and its number. Half of the changes go to the part that
says what is where: the header, the pickle, the directory of the zip.
"""

import io
import json
import random
import resource
import struct
import sys
import tempfile
import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.checkpoint.files.stand_ins import DictStandIn, standing_in
from labml_sd.errors import CheckpointError

MAX_GROWTH = 200 * 2**20
BYTES = (0, 1, 2, 0x7F, 0x80, 0xFF, *b'{}[]",:.()tRQbcqhXKM\x85\x86\x87\x88\x89\x8a')
NUMBERS = (0, 1, 2, 7, 8, 255, 256, 65535, 65536, 2**53,
           2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
Span = tuple[int, int]
Regions = list[Span]


@dataclass(frozen=True)
class Seed:
    """A sound file, and where in it the description of its contents lies."""

    data: bytes
    regions: Regions


def tensors() -> dict[str, Tensor]:
    """Small, of several kinds, one a view of another's numbers."""
    base = torch.arange(192.0)
    return {
        "model.weight": base.reshape(3, 64),
        "model.bias": torch.tensor([1.5, -2.0]).half(),
        "first.scale": torch.ones(2, 1, 2, dtype=torch.bfloat16),
        "steps": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
    }


def safetensors_seeds() -> list[Seed]:
    """With and without metadata."""
    files = [save(tensors()), save(tensors(), metadata={"format": "pt", "note": "ü"})]
    return [Seed(data, [(0, 8 + int.from_bytes(data[:8], "little"))]) for data in files]


def ckpt_seeds() -> list[Seed]:
    """A bare zip, one as training leaves it, and the stream before torch 1.6."""
    plain = OrderedDict(tensors(), window=tensors()["model.weight"].t()[1:])
    training = {
        "state_dict": plain,
        "epoch": 3,
        "lr": 1e-4,
        "notes": ["a", (1, None, True)],
        "big": 2**70,
    }
    return [_ckpt(plain, True), _ckpt(training, True), _ckpt(training, False)]


def _ckpt(value: Any, as_zip: bool) -> Seed:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=as_zip)
    data = buffer.getvalue()
    if not as_zip:
        return Seed(data, [(0, data.rindex(b"tensors" if b"tensors" in data else b"."))])
    with zipfile.ZipFile(buffer) as archive:
        member = archive.infolist()[0]
    start = data.find(b"\x80\x02")
    directory = data.find(b"PK\1\2")
    return Seed(data, [(start, start + member.file_size), (directory, len(data)), (0, start)])


def mutant(seeds: list[Seed], rng: random.Random) -> bytes:
    """One to four changes of a sound file."""
    seed = rng.choice(seeds)
    data = bytearray(seed.data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        if not data:
            break
        region = rng.choice(seed.regions) if rng.random() < 0.6 else (0, len(data))
        low, high = min(region[0], len(data) - 1), max(1, min(region[1], len(data)))
        at = rng.randrange(low, max(high, low + 1))
        rng.choice(CHANGES)(data, at, (low, high), rng)
    return bytes(data)


Change = Callable[[bytearray, int, Span, random.Random], None]


def _flip(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _set(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    data[at] = rng.choice(BYTES)


def _number(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    """A length, an offset or a count of 2, 4 or 8 bytes, in either order."""
    size = rng.choice((2, 4, 8))
    value = rng.choice(NUMBERS) % 2 ** (8 * size)
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "little", "big")))


def _digits(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    """A number in a text header: the next digits become others."""
    start = next((i for i in range(at, len(data)) if chr(data[i]).isdigit()), at)
    end = start
    while end < len(data) and chr(data[end]).isdigit():
        end += 1
    data[start:end] = str(rng.choice((*NUMBERS, -1, 1e999, 4.0, "null", "[]"))).encode()


def _step(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    """Add a little to the 4 bytes here, as one counts lengths and offsets."""
    if at + 4 <= len(data):
        (value,) = struct.unpack_from("<I", data, at)
        struct.pack_into(
            "<I", data, at, (value + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8))) % 2**32
        )


def _cut(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    del data[at:]


def _remove(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    del data[at : at + rng.choice((1, 2, 4, 8, 32))]


def _insert(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    data[at:at] = bytes(rng.choice(BYTES) for _ in range(rng.choice((1, 2, 4, 8, 64))))


def _extend(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    data += bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 100))))


def _duplicate(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    piece = data[at : at + rng.choice((1, 4, 16, 64))]
    data[at:at] = piece * rng.choice((1, 1, 2, 50))


def _swap(data: bytearray, at: int, region: Span, rng: random.Random) -> None:
    size, other = (
        rng.choice((1, 2, 4, 16)),
        rng.randrange(*region) if region[0] < region[1] else at,
    )
    piece, there = bytes(data[at : at + size]), bytes(data[other : other + size])
    data[at : at + size], data[other : other + size] = there, piece


OFTEN: tuple[Change, ...] = (_flip, _set, _step)
CHANGES: tuple[Change, ...] = (
    *(OFTEN * 2),
    *(_number, _digits, _cut, _remove, _insert, _extend, _duplicate, _swap),
)


def reference_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def reference_ckpt(path: Path) -> dict[str, Tensor]:
    """What torch gives, named as here. A damaged name is taken for that of some program."""
    names = dict.fromkeys(open_weights(path).refused, DictStandIn)
    with warnings.catch_warnings(action="ignore"), standing_in(names):
        content = torch.load(path, map_location="cpu", weights_only=True)
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    found = {}
    for name, value in content.items():
        if type(name) in (str, int):
            found[str(name)] = value
            if isinstance(value, dict):
                found |= {f"{name}.{k}": v for k, v in value.items() if type(k) in (str, int)}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


@dataclass(frozen=True)
class Kind:
    """A format: its sound files and what reads it besides this package."""

    seeds: Callable[[], list[Seed]]
    reference: Callable[[Path], dict[str, Tensor]]


KINDS = {
    "safetensors": Kind(safetensors_seeds, reference_safetensors),
    "ckpt": Kind(ckpt_seeds, reference_ckpt),
}


@dataclass
class Tally:
    """What came of the mutants; `wrong` says of each fault which mutant shows it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    growth: int = 0


def limit_processor_time(seconds: int) -> None:
    """End this process when it has worked for so long: a reader without end fails the test."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def peak_memory() -> int:
    """The most bytes that this process had since the last `forget_peak`, says Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    """From now on the most is what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Read a mutant to its last number, as ours. Gives what came of it and the tensors."""
    try:
        weights = open_weights(path)
        return "accepted", {name: weights.read(name) for name in weights.tensors}
    except CheckpointError as error:
        return "refused" if str(error).isprintable() else "refused on several lines", {}
    except Exception as error:
        return f"{type(error).__name__}: {error}", {}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    def raw(tensor: Tensor) -> bytes:
        return (
            tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            if tensor.numel()
            else b""
        )

    return ours.keys() == theirs.keys() and all(
        (ours[n].shape, ours[n].dtype, raw(ours[n]))
        == (theirs[n].shape, theirs[n].dtype, raw(theirs[n]))
        for n in ours
    )


def compare(kind: Kind, path: Path, ours: dict[str, Tensor]) -> str:
    try:
        theirs = kind.reference(path)
    except Exception as error:
        return f"the reference refuses it: {type(error).__name__} {str(error)[-150:]!r}"
    return "" if same(ours, theirs) else "the reference reads other numbers"


def try_one(kind: Kind, path: Path, tally: Tally) -> str:
    """Read a mutant and check all that must hold. Returns what is wrong, or an empty text."""
    forget_peak()
    before = peak_memory()
    said, ours = read(path)
    grown = peak_memory() - before
    tally.growth = max(tally.growth, grown)
    tally.outcomes[said if said in ("accepted", "refused") else "wrong"] += 1
    if said not in ("accepted", "refused"):
        return said
    if grown > MAX_GROWTH:
        return f"grew by {grown:,} bytes"
    return compare(kind, path, ours) if said == "accepted" else ""


def fuzz(name: str, count: int, seed: int, folder: Path) -> Tally:
    """Read `count` mutants. A wrong one is listed with its number, and the file is kept."""
    kind, tally = KINDS[name], Tally()
    seeds = kind.seeds()
    for i, sound in enumerate(seeds):
        path = folder / f"sound{i}"
        path.write_bytes(sound.data)
        wrong = try_one(kind, path, Tally())
        assert not wrong, f"a sound file must be read as the reference reads it: {wrong}"
    for i in range(count):
        path = folder / f"{name}-{seed}-{i}"
        path.write_bytes(mutant(seeds, random.Random(f"{name} {seed} {i}")))
        wrong = try_one(kind, path, tally)
        if wrong:
            tally.wrong.append(f"{path}: {wrong}")
        else:
            path.unlink()
    return tally


if __name__ == "__main__":
    limit_processor_time(7200)
    name, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    tally = fuzz(name, count, seed, Path(tempfile.mkdtemp(prefix="fuzz")))
    print(json.dumps({"growth_mb": tally.growth >> 20, "n_wrong": len(tally.wrong),
                      "outcomes": tally.outcomes, "wrong": tally.wrong[:20]}))  # fmt: skip
    sys.exit(1 if tally.wrong else 0)
