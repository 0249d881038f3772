"""Files that are long, deep or boastful: each must be refused or read within two seconds and 200 MB.

`python hostile_bombs.py FOLDER` reads each in turn and says as JSON what came of it, the
processor's seconds and the bytes by which memory grew. `python hostile_bombs.py FOLDER NAME`
adds a check of the check: a reader that does what the name says, "linger" or "hoard".
"""

import io
import json
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from fuzz import forget_peak, peak_memory
from hostile import STORAGE, TENSOR, in_container, torch_zip, whole

from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.errors import CheckpointError


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def each(n: int, opcodes: bytes) -> bytes:
    """Opcodes after a fresh name, n times, between braces."""
    return b"}(" + b"".join(text(f"{i:x}") + opcodes for i in range(n)) + b"u"


def laughs(n: int) -> bytes:
    """A tuple that holds 4^n others."""
    return b"()q\0" + b"(h\0h\0h\0h\0tq\0" * n + b"t"


def deflated() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(20 * 2**20))
    return buffer.getvalue()


def safetensors(header: bytes, numbers: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + numbers


def entry(shape: str, end: int) -> bytes:
    return f'{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,{end}]}}'.encode()


def zipped(body: bytes) -> bytes:
    return torch_zip(whole(body))


STREAM = in_container(b"N", "reduce2", "stream")
REBUILD = b"ctorch._utils\n_rebuild_tensor\nq\2"
BOMBS: dict[str, Callable[[], bytes]] = {
    "ten million opcodes": lambda: zipped(b"N" * 10**7),
    "64 MB of opcodes in a stream": lambda: STREAM[:14] + b"\x80\x02" + b"N" * 2**26,
    "empty dictionaries": lambda: zipped(b"}" * 600_000),
    "marks": lambda: zipped(b"(" * 600_000),
    "names": lambda: zipped(b"comegaconf\nA\n" * 600_000),
    "depth": lambda: zipped(b"]" * 240_000 + b"a" * 239_999),
    "memo": lambda: zipped(
        b"N" + b"".join(b"r" + i.to_bytes(4, "little") for i in range(600_000))
    ),
    "billion laughs": lambda: zipped(b"}" + text("a") + laughs(5000) + b"s"),
    "billion laughs as a key": lambda: zipped(b"}" + laughs(5000) + b"Ns"),
    "billion laughs as a storage": lambda: zipped(laughs(5000) + b"Q"),
    "a list that holds itself": lambda: zipped(b"]q\0h\0a"),
    "a state_dict that holds itself": lambda: zipped(b"}q\0" + text("state_dict") + b"h\0s"),
    "one long shape for many": lambda: zipped(
        b"("
        + b"K\1" * 60_000
        + b"tq\0"
        + STORAGE
        + b"q\1"
        + REBUILD
        + each(50_000, b"h\2(h\1K\0h\0h\0tR")
    ),
    "one long list for many": lambda: zipped(
        b"](" + b"N" * 200_000 + b"e\x85q\0ccollections\nOrderedDict\nq\1" + b"h\1h\0R" * 50_000
    ),
    "one large dictionary for many": lambda: zipped(
        each(60_000, b"N") + b"q\0}(" + each(60_000, b"h\0")[2:]
    ),
    "many tensors on one storage": lambda: zipped(TENSOR + b"q\0" + each(150_000, b"h\0")),
    "keys that share one place": lambda: zipped(
        b"}("
        + b"".join(
            b"\x8a\x0b" + (i * (2**61 - 1)).to_bytes(11, "little") + b"N" for i in range(40_000)
        )
        + b"u"
    ),
    "wide characters": lambda: zipped(
        b"]("
        + (b"X" + struct.pack("<I", 2**18) + b"a" * (2**18 - 4) + "😀".encode()) * 60
        + b"e"
    ),
    "a text of 4 GB": lambda: zipped(b"X\xff\xff\xff\xffa"),
    "bytes of 2^60": lambda: zipped(b"\x8e" + struct.pack("<Q", 2**60)),
    "a number of 2 GB": lambda: zipped(b"\x8b\xff\xff\xff\x7f"),
    "a stream of 2^62 numbers": lambda: STREAM[:-16] + struct.pack("<q", 2**62) + STREAM[-8:],
    "deflated zeros": deflated,
    "header of 20 MB": lambda: safetensors(b"{" + b" " * 20_000_000 + b"}"),
    "header of spaces": lambda: safetensors(b"{" + b" " * (2**24 - 2) + b"}"),
    "99,000 tensors": lambda: safetensors(
        b"{" + b",".join(b'"%x":%b' % (i, entry("0", 0)) for i in range(99_000)) + b"}"
    ),
    "shape of 8 million": lambda: safetensors(
        b'{"a":' + entry("1," * 8_000_000 + "1", 4) + b"}", b"1234"
    ),
    "empty lists": lambda: safetensors(b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"),
    "long metadata": lambda: safetensors(
        b'{"__metadata__":{"a":"' + b"x" * 16_000_000 + b'"}}'
    ),
    "deep metadata": lambda: safetensors(b'{"__metadata__":' + b"[" * 200_000),
    "tensor of a terabyte": lambda: safetensors(b'{"a":' + entry(str(2**38), 2**40) + b"}"),
}


def linger(path: Path) -> None:
    end = time.process_time() + 2.5
    while time.process_time() < end:
        pass


def hoard(path: Path) -> None:
    bytearray(300 * 2**20)


def measure(reader: Callable[[Path], object], path: Path) -> tuple[str, float, int]:
    forget_peak()
    before, start = peak_memory(), time.process_time()
    try:
        reader(path)
        said = "read"
    except CheckpointError as error:
        said = "refused" if str(error).isprintable() else "refused on several lines"
    except Exception as error:
        said = type(error).__name__
    return said, time.process_time() - start, peak_memory() - before


if __name__ == "__main__":
    place = Path(sys.argv[1])
    found = {}
    if len(sys.argv) > 2:
        found["check"] = measure({"linger": linger, "hoard": hoard}[sys.argv[2]], place)
    else:
        place.joinpath("sound").write_bytes(in_container(b"N", "reduce2", "zip"))
        open_weights(place / "sound").read("a")
        for name, make in BOMBS.items():
            place.joinpath("bomb").write_bytes(make())
            found[name] = measure(open_weights, place / "bomb")
    print(json.dumps(found))
