import io
import struct
import zipfile

import pytest
import torch

from labml_sd.checkpoint.files.pickle_values import DamagedError, PickleError
from labml_sd.checkpoint.files.zip_members import END, ENTRY, MAX_MEMBERS, zip_members

FILES = {
    "archive/data.pkl": b"pickle",
    "archive/data/0": b"12345678",
    "archive/version": b"3\n",
}


def make(files=FILES, **kwargs) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **kwargs) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return bytearray(buffer.getvalue())


def put(data: bytearray, at: int, layout: str, value: int) -> bytearray:
    struct.pack_into(layout, data, at, value)
    return data


def entries(data: bytes) -> list[int]:
    """Where the entries of the central directory begin."""
    start = data.find(b"PK\1\2")
    return [
        start + i
        for i in range(len(data) - start)
        if data[start + i : start + i + 4] == b"PK\1\2"
    ]


def contents(data: bytes) -> dict[str, bytes]:
    return {name: bytes(data[slice(*span)]) for name, span in zip_members(bytes(data)).items()}


def test_members_are_found_without_their_folder():
    assert contents(make()) == {
        name.removeprefix("archive/"): data for name, data in FILES.items()
    }


def test_what_torch_writes_is_read_as_zipfile_reads_it():
    buffer = io.BytesIO()
    torch.save({"a": torch.randn(3), "b": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        expected = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert contents(buffer.getvalue()) == expected
    assert ".data/serialization_id" in expected


def test_sizes_in_64_bits_are_read():
    """A member of four gigabytes has them; zipfile writes them when asked to."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w") as archive,
        archive.open("archive/data.pkl", "w", force_zip64=True) as file,
    ):
        file.write(b"pickle")
    data = bytearray(buffer.getvalue())
    assert contents(data) == {"data.pkl": b"pickle"}
    wide = struct.pack("<2H3Q", 1, 24, 6, 6, 0)
    (entry,) = entries(data)
    name_end = entry + ENTRY.size + len("archive/data.pkl")
    for at in (20, 24, 42):
        put(data, entry + at, "<I", 0xFFFFFFFF)
    put(data, entry + 30, "<H", len(wide))
    data[name_end:name_end] = wide
    put(data, len(data) - END.size + 12, "<I", len(data) - END.size - entry)
    assert contents(data) == {"data.pkl": b"pickle"}


@pytest.mark.parametrize(
    "name",
    [
        "../data/0",
        "archive/../../x",
        "/archive/x",
        "archive//x",
        "archive/./x",
        "archive/a\nb",
        "archive/a\x1b",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(PickleError, match="a zip member named"):
        zip_members(bytes(make([*FILES.items(), (name, b"")])))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused():
    with pytest.raises(PickleError, match=r"two zip members of one name, archive/data\.pkl"):
        zip_members(bytes(make([*FILES.items(), ("archive/data.pkl", b"other")])))


def test_members_of_two_folders_are_refused():
    with pytest.raises(PickleError, match="in no one folder"):
        zip_members(bytes(make([*FILES.items(), ("other/x", b"other")])))


def test_forty_gigabytes_of_zeros_in_forty_kilobytes_are_refused():
    data = make({**FILES, "archive/data/1": bytes(2**20)}, compression=zipfile.ZIP_DEFLATED)
    put(data, entries(data)[-1] + 24, "<I", 2**32 - 2)
    with pytest.raises(PickleError, match="compressed zip member"):
        zip_members(bytes(data))


@pytest.mark.parametrize(
    ("at", "layout", "value", "message"),
    [  # of the last entry in the directory
        (8, "<H", 1, "encrypted"),
        (8, "<H", 0x20, "unusual kind"),
        (8, "<H", 0x40, "encrypted"),
        (8, "<H", 0x2000, "encrypted"),
        (10, "<H", 8, "compressed"),
        (24, "<I", 3, "compressed"),
        (28, "<H", 7, "damaged|more than"),
        (30, "<H", 5, "damaged"),
        (34, "<H", 1, "damaged"),
        (38, "<I", 0x10, "damaged"),  # a folder that holds bytes
        (42, "<I", 0, "not what the directory says"),
        (42, "<I", 10**6, "header of zip member .* is missing"),
        (42, "<I", 0xFFFFFFFF, "64-bit size is missing"),
        (46, "<B", ord("b"), "not what the directory says"),
    ],
)
def test_a_directory_that_lies_is_refused(at, layout, value, message):
    data = make()
    put(data, entries(data)[-1] + at, layout, value)
    with pytest.raises((PickleError, DamagedError), match=message):
        zip_members(bytes(data))


@pytest.mark.parametrize(
    ("at", "layout", "value"),
    [(8, "<H", 8), (6, "<H", 1), (18, "<I", 3), (22, "<I", 9), (26, "<H", 3), (30, "<B", 0)],
)
def test_a_header_that_says_other_than_the_directory_is_refused(at, layout, value):
    with pytest.raises(DamagedError, match="not what the directory says"):
        zip_members(bytes(put(make(), at, layout, value)))


@pytest.mark.parametrize(
    ("at", "layout", "value"),
    [
        (4, "<H", 1),
        (6, "<H", 1),
        (8, "<H", 2),
        (10, "<H", 2),
        (12, "<I", 9),
        (16, "<I", 9),
        (20, "<H", 1),
    ],
)
def test_an_end_record_that_lies_is_refused(at, layout, value):
    data = make()
    with pytest.raises(DamagedError, match="end records disagree"):
        zip_members(bytes(put(data, len(data) - END.size + at, layout, value)))


@pytest.mark.parametrize(
    ("at", "value"), [(-42 + 8, 0), (-98 + 4, 45), (-98 + 24, 1), (-98 + 40, 1), (-98 + 48, 1)]
)
def test_64_bit_records_that_lie_are_refused(at, value):
    buffer = io.BytesIO()
    torch.save({"a": torch.randn(3)}, buffer)
    data = bytearray(buffer.getvalue())
    with pytest.raises(DamagedError, match="end record"):
        zip_members(bytes(put(data, len(data) + at, "<Q", value)))


@pytest.mark.parametrize("extra", [b"\0", b"PK\5\6" + bytes(18), bytes(make())])
def test_nothing_may_stand_behind_the_end(extra):
    with pytest.raises(DamagedError):
        zip_members(bytes(make()) + extra)


def test_nothing_may_stand_in_front_when_the_records_do_not_say_so():
    with pytest.raises(DamagedError):
        zip_members(b"\x89PNG" + bytes(make()))


def test_members_may_not_overlap():
    data = make({"archive/a": b"x" * 64, "archive/b": b"PK\3\4"})
    inner = make({"archive/b": b"PK\3\4"})[:43]
    data[39 : 39 + len(inner)] = inner  # a header of b in the middle of a
    put(data, entries(data)[-1] + 42, "<I", 39)
    with pytest.raises(DamagedError, match="overlaps"):
        zip_members(bytes(data))


def test_a_zip_of_many_members_is_refused_before_they_are_listed():
    data = make()
    for at in (8, 10):
        put(data, len(data) - END.size + at, "<H", MAX_MEMBERS + 1)
    with pytest.raises(PickleError, match="50,001 members"):
        zip_members(bytes(data))


@pytest.mark.parametrize("n", range(0, 350, 7))
def test_a_cut_zip_is_damaged(n):
    with pytest.raises(DamagedError):
        zip_members(bytes(make())[:n])
