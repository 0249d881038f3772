"""Files that are long, deep or boastful: each is refused or read within 200 MB of memory.

They are read in a process of their own, without the checks of types that tests run under:
`python test_bombs.py FOLDER` prints as JSON what came of each, and by how much memory grew.
"""

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
from fuzz import forget_peak, limit_processor_time, peak_memory
from hostile import STORAGE, TENSOR, in_container, text, torch_zip, whole

from labml_sd.checkpoint.files.open_file import open_weights
from labml_sd.errors import CheckpointError

MAX_GROWTH = 200 * 2**20


def zipped(body: bytes) -> bytes:
    return torch_zip(whole(body))


def each(n: int, opcodes: bytes) -> bytes:
    """A dictionary with the opcodes under n names."""
    return b"}(" + b"".join(text(f"{i:x}") + opcodes for i in range(n)) + b"u"


def deflated() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(20 * 2**20))
    return buffer.getvalue()


def records() -> bytes:
    """Empty records and their entries in the directory; zipfile takes minutes to write them."""
    names = [b"a/%x" % i for i in range(140_000)]
    headers = [struct.pack("<4s22x2H", b"PK\3\4", len(name), 0) + name for name in names]
    starts = list(accumulate(map(len, headers), initial=0))
    entries = b"".join(
        struct.pack("<4s24xH12xI", b"PK\1\2", len(name), start) + name
        for name, start in zip(names, starts[:-1], strict=True)
    )
    end = struct.pack(
        "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 140_000, 140_000, len(entries), starts[-1]
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, starts[-1] + len(entries), 1)
    return b"".join(headers) + entries + end + locator + b"PK\5\6" + bytes(18)


def safetensors(header: bytes, numbers: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + numbers


def entry(shape: str, end: int) -> bytes:
    return f'{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,{end}]}}'.encode()


STREAM = in_container(b"N", "reduce2", "stream")
REBUILD = b"ctorch._utils\n_rebuild_tensor\nq\2"
LAUGHS = b"()q\0" + b"(h\0h\0h\0h\0tq\0" * 5000 + b"t"  # a tuple of 4^5000 others
SMILES = b"X" + struct.pack("<I", 2**18) + b"a" * (2**18 - 4) + "😀".encode()
TWINS = b"".join(
    b"\x8a\x0b" + (i * (2**61 - 1)).to_bytes(11, "little") + b"N" for i in range(40_000)
)
LONG_SHAPE = b"(" + b"K\1" * 60_000 + b"tq\0" + STORAGE + b"q\1" + REBUILD
ORDERED = b"ccollections\nOrderedDict\nq\0"
LONG_LIST = b"](" + b"N" * 200_000 + b"e\x85q\0ccollections\nOrderedDict\nq\1"

PICKLES: dict[str, Callable[[], bytes]] = {
    "ten million opcodes": lambda: b"N" * 10**7,
    "empty dictionaries": lambda: b"}" * 600_000,
    "empty ordered dictionaries": lambda: b"](" + ORDERED + b"h\0)R" * 120_000 + b"e",
    "marks": lambda: b"(" * 600_000,
    "names": lambda: b"comegaconf\nA\n" * 600_000,
    "depth": lambda: b"]" * 240_000 + b"a" * 239_999,
    "memo": lambda: b"N" + b"".join(b"r" + i.to_bytes(4, "little") for i in range(600_000)),
    "billion laughs": lambda: b"}" + text("a") + LAUGHS + b"s",
    "billion laughs as a key": lambda: b"}" + LAUGHS + b"Ns",
    "billion laughs as a storage": lambda: LAUGHS + b"Q",
    "billion laughs that are called": lambda: LAUGHS + b")R",
    "a list that contains itself": lambda: b"]q\0h\0a",
    "a state_dict that contains itself": lambda: b"}q\0" + text("state_dict") + b"h\0s",
    "one long shape for many": lambda: LONG_SHAPE + each(50_000, b"h\2(h\1K\0h\0h\0tR"),
    "one long list for many": lambda: LONG_LIST + b"h\1h\0R" * 50_000,
    "a large dictionary for many": lambda: each(60_000, b"N") + b"q\0" + each(60_000, b"h\0"),
    "one tensor for many": lambda: TENSOR + b"q\0" + each(150_000, b"h\0"),
    "many tensors of one storage": lambda: b"K\1\x85q\0" + STORAGE + b"q\1" + REBUILD
    + b"(h\1K\0h\0h\0tq\3]" + b"h\2h\3Ra" * 120_000,
    "numbers with one hash": lambda: b"}(" + TWINS + b"u",
    "wide characters": lambda: b"](" + SMILES * 60 + b"e",
    "a text of 4 GB": lambda: b"X\xff\xff\xff\xffa",
    "bytes of 2^60": lambda: b"\x8e" + struct.pack("<Q", 2**60),
    "a number of 2 GB": lambda: b"\x8b\xff\xff\xff\x7f",
    "a storage of a terabyte": lambda: STORAGE.replace(b"K\2t", b"\x8a\5\0\0\0\0\x40t"),
    "a billion views of one number": lambda: b"}" + text("a") + TENSOR.replace(
        b"K\2\x85K\1\x85", b"J\0\0\0\x40\x85K\0\x85") + b"s",
}  # fmt: skip
FILES: dict[str, Callable[[], bytes]] = {
    "64 MB of opcodes in a stream": lambda: STREAM[:14] + b"\x80\x02" + b"N" * 2**26,
    "a stream of 2^62 numbers": lambda: STREAM[:-16] + struct.pack("<q", 2**62) + STREAM[-8:],
    "a stream that mentions 2^40 numbers": lambda: STREAM.replace(
        b"K\2N", b"\x8a\6\0\0\0\0\0\1N"
    ),
    "deflated zeros": deflated,
    "a zip of 140,000 records": records,
    "a header of 20 MB": lambda: safetensors(b"{" + b" " * 20_000_000 + b"}"),
    "a header of spaces": lambda: safetensors(b"{" + b" " * (2**24 - 2) + b"}"),
    "99,000 tensors": lambda: safetensors(
        b"{" + b",".join(b'"%x":%b' % (i, entry("0", 0)) for i in range(99_000)) + b"}"
    ),
    "a shape of 8 million": lambda: safetensors(
        b'{"a":' + entry("1," * 8_000_000 + "1", 4) + b"}", b"1234"
    ),
    "empty lists": lambda: safetensors(b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"),
    "long metadata": lambda: safetensors(
        b'{"__metadata__":{"a":"' + b"x" * 16_000_000 + b'"}}'
    ),
    "deep metadata": lambda: safetensors(b'{"__metadata__":' + b"[" * 200_000),
    "a tensor of a terabyte": lambda: safetensors(b'{"a":' + entry(str(2**38), 2**40) + b"}"),
}


def measure(reader: Callable[[Path], object], path: Path) -> tuple[str, int]:
    """What came of a file, and by how much memory grew."""
    forget_peak()
    before = peak_memory()
    try:
        reader(path)
        said = "read"
    except CheckpointError as error:
        said = "refused" if str(error).isprintable() else "refused on several lines"
    except Exception as error:
        said = type(error).__name__
    return said, peak_memory() - before


def measure_all(folder: Path) -> dict[str, tuple[str, int]]:
    (folder / "sound").write_bytes(in_container(b"N", "reduce2", "zip"))
    open_weights(folder / "sound").read("a")
    found = {}
    for name, make in (PICKLES | FILES).items():
        (folder / "bomb").write_bytes(zipped(make()) if name in PICKLES else make())
        found[name] = measure(open_weights, folder / "bomb")
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    command = [sys.executable, __file__, tmp_path_factory.mktemp("bombs")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PICKLES, *FILES])
def test_no_file_takes_200_megabytes(found, name):
    said, growth = found[name]
    assert said in ("read", "refused")
    assert growth < MAX_GROWTH


def test_the_measurement_notices_a_reader_that_takes_more(tmp_path):
    assert measure(lambda path: bytearray(300 * 2**20), tmp_path)[1] > MAX_GROWTH


if __name__ == "__main__":
    limit_processor_time(600)
    print(json.dumps(measure_all(Path(sys.argv[1]))))
