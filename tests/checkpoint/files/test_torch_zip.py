import io
import mmap
import struct
import zipfile

import pytest
import torch

from labml_sd.checkpoint.files import torch_zip
from labml_sd.checkpoint.files.torch_errors import TorchFileError
from labml_sd.checkpoint.files.torch_zip import END, torch_records

FILES = {"archive/data.pkl": b"pickle", "archive/data/0": b"12345678", "archive/version": b"3"}


def make(files=FILES, **options) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return bytearray(buffer.getvalue())


def put(data: bytearray, at: int, layout: str, value: int) -> bytearray:
    struct.pack_into(layout, data, at, value)
    return data


def last_entry(data: bytes) -> int:
    """Where the last entry of the directory begins."""
    return bytes(data).rfind(b"PK\1\2")


@pytest.fixture
def contents(tmp_path):
    """Reads a zip's records."""

    def read(data: bytes) -> dict[str, bytes]:
        path = tmp_path / "x.zip"
        path.write_bytes(data)
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as bytes_of_file,
        ):
            records = torch_records(path, bytes_of_file)
            return {name: bytes_of_file[slice(*span)] for name, span in records.items()}

    return read


def with_64_bit_end(data: bytearray) -> bytearray:
    """The same zip with the end records of a large file, as torch.save always writes them."""
    end = len(data) - END.size
    n, size, start = struct.unpack_from("<H2I", data, end + 10)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, n, n, size, start)
    return data[:end] + record + struct.pack("<4sIQI", b"PK\6\7", 0, end, 1) + data[end:]


@pytest.mark.parametrize("end", [bytearray, with_64_bit_end])
def test_records_are_found_without_their_folder(contents, end):
    found = contents(end(make()))
    assert found == {name.removeprefix("archive/"): data for name, data in FILES.items()}


def test_what_torch_writes_is_read_as_zipfile_reads_it(contents):
    buffer = io.BytesIO()
    torch.save({"a": torch.randn(3), "b": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        expected = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert contents(buffer.getvalue()) == expected
    assert ".data/serialization_id" in expected


def test_sizes_in_64_bits_are_read(contents):
    """A record of four gigabytes has them; here one of six bytes."""
    data = make({"archive/data.pkl": b"pickle"})
    wide = struct.pack("<2H3Q", 1, 24, 6, 6, 0)
    entry = last_entry(data)
    for at in (20, 24, 42):
        put(data, entry + at, "<I", 0xFFFFFFFF)
    put(data, entry + 30, "<H", len(wide))
    name_end = entry + 46 + len("archive/data.pkl")
    data[name_end:name_end] = wide
    put(data, len(data) - END.size + 12, "<I", len(data) - END.size - entry)
    assert contents(data) == {"data.pkl": b"pickle"}


ELSEWHERE = ["../data/0", "archive/../../x", "/archive/x", "archive//x", "archive/./x"]


@pytest.mark.parametrize("name", [*ELSEWHERE, "archive/a\nb", "archive/a\x1b"])
def test_a_name_that_leads_elsewhere_or_cannot_be_shown_is_refused(contents, name):
    with pytest.raises(TorchFileError, match="a zip record named"):
        contents(make([*FILES.items(), (name, b"")]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([*FILES.items(), ("archive/data.pkl", b"2")], "two zip records of one name"),
        ([*FILES.items(), ("archive/DATA.PKL", b"2")], "two zip records of one name"),
        ([*FILES.items(), ("other/x", b"2")], "one folder with a data.pkl"),
        ({"archive/data/0": b"1"}, "one folder with a data.pkl"),
        ({"data.pkl": b"1"}, "one folder with a data.pkl"),
    ],
)
def test_other_names_than_those_of_torch_are_refused(contents, files, message):
    with pytest.raises(TorchFileError, match=message):
        contents(make(files))


def test_forty_gigabytes_of_zeros_in_forty_kilobytes_are_refused(contents):
    data = make({**FILES, "archive/data/1": bytes(2**20)}, compression=zipfile.ZIP_DEFLATED)
    put(data, last_entry(data) + 24, "<I", 2**32 - 2)
    with pytest.raises(TorchFileError, match="compressed zip record"):
        contents(data)


@pytest.mark.parametrize(
    ("at", "layout", "value", "message"),
    [
        (8, "<H", 1, "encrypted"),
        (8, "<H", 0x40, "encrypted"),
        (10, "<H", 8, "compressed"),
        (24, "<I", 3, "compressed"),
        (38, "<I", 0x10, "unusual kind"),  # a folder that contains bytes
        (28, "<H", 7, "directory"),
        (42, "<I", 0, "has another name"),
        (42, "<I", 10**6, "header of zip record .* is missing"),
        (46, "<B", ord("b"), "has another name"),
    ],
)
def test_an_entry_that_contradicts_the_records_is_refused(contents, at, layout, value, message):
    data = make()
    with pytest.raises(TorchFileError, match=message):
        contents(put(data, last_entry(data) + at, layout, value))


@pytest.mark.parametrize(("at", "value"), [(26, 3), (28, 9), (0, 0)])
def test_a_header_that_contradicts_its_entry_is_refused(contents, at, value):
    with pytest.raises(TorchFileError, match=r"header of zip record|overlaps"):
        contents(put(make(), at, "<H", value))


@pytest.mark.parametrize(("at", "layout"), [(12, "<I"), (16, "<I"), (20, "<H")])
def test_an_end_record_that_is_wrong_is_refused(contents, at, layout):
    data = make()
    with pytest.raises(TorchFileError, match="end records disagree"):
        contents(put(data, len(data) - END.size + at, layout, 9))


@pytest.mark.parametrize("at", [-98, -98 + 40, -98 + 48, -42 + 8])
def test_a_64_bit_end_record_that_is_wrong_is_refused(contents, at):
    """A second directory could stand where only one of two readers looks."""
    data = with_64_bit_end(make())
    with pytest.raises(TorchFileError, match="end record"):
        contents(put(data, len(data) + at, "<Q", 1))


@pytest.mark.parametrize("extra", [b"\0", b"PK\5\6" + bytes(18), bytes(make())])
def test_nothing_may_follow_the_end(contents, extra):
    with pytest.raises(TorchFileError):
        contents(bytes(make()) + extra)


def test_nothing_may_precede_the_first_record_unless_the_directory_says_so(contents):
    with pytest.raises(TorchFileError):
        contents(b"\x89PNG" + bytes(make()))


def test_records_may_not_overlap(contents):
    data = make({"archive/data.pkl": b"x" * 64, "archive/b": b"PK\3\4"})
    inner = make({"archive/b": b"PK\3\4"})[:43]
    data[50 : 50 + len(inner)] = inner  # a header of b in the middle of the pickle
    with pytest.raises(TorchFileError, match="overlaps"):
        contents(put(data, last_entry(data) + 42, "<I", 50))


def test_a_long_directory_is_refused_before_it_is_listed(contents, monkeypatch):
    monkeypatch.setattr(torch_zip, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(TorchFileError, match="a zip directory of over 100 bytes"):
        contents(make())


@pytest.mark.parametrize("n", range(1, 300, 13))
def test_a_cut_zip_is_damaged(contents, n):
    with pytest.raises(TorchFileError, match="damaged"):
        contents(make()[:n])
