r"""The records of a zip that torch.save wrote, if the zip can be read in one way only.

Python's `zipfile` lists the records here; torch reads them with another library. Where the
entries of a zip contradict each other, the two could see different files. So each record must
be stored as it is (nothing is unpacked), lie in the same folder as all others, overlap none,
and have the same name in its header; the file must end with the end records.

Maps       the bytes of a file -> {name without the folder: (first byte, byte after the last)}
Reference  PKWARE APPNOTE 6.3.9, sections 4.3.7, 4.3.12 to 4.3.16 and 4.5.3
Tests      tests/checkpoint/files/test_torch_zip.py
"""

import mmap
import struct
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from labml_sd.checkpoint.files.torch_errors import damaged, suspicious
from labml_sd.checkpoint.printable import is_plain_name, shown

Span = tuple[int, int]  # first byte and the byte after the last, in the file
MAX_DIRECTORY_BYTES = 2**23  # 50 to 100 a record: a training checkpoint has 4,500 of them
END = struct.Struct("<4s8x2IH")  # size and start of the directory, length of a comment
END_64 = struct.Struct("<4s36x2Q")
LOCATOR = struct.Struct("<4sIQI")  # its third number is where the 64-bit record begins
HEADER = struct.Struct("<26x2H")  # lengths of the name and of what follows it
FOLDER = 0x10  # attribute: some readers find no bytes in such a record
UTF_8 = 0x800  # flag: the name is in UTF-8
HARMLESS_FLAGS = UTF_8 | 0x8 | 0x6  # sizes behind the bytes; two for the level of compression


def torch_records(path: Path, data: mmap.mmap) -> dict[str, Span]:
    """The records by name, without the folder that contains them all. Raises TorchFileError."""
    start = _directory(data)
    try:
        with ZipFile(path) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    except (BadZipFile, NotImplementedError, ValueError) as error:
        raise damaged(f"its zip directory: {shown(error)}") from error
    records: dict[str, Span] = {}
    folders, names, free = set(), set(), 0
    for entry in entries:
        name = _plain_name(entry)
        begin = _begin_of(entry, data, name)
        if entry.header_offset < free or begin + entry.file_size > start:
            raise damaged(f"zip record {name} overlaps another or the directory")
        free = begin + entry.file_size
        folder, _, inside = name.partition("/")
        if inside.lower() in names:  # torch finds a name in capitals too
            raise suspicious(f"two zip records of one name, {name}")
        folders.add(folder)
        names.add(inside.lower())
        records[inside] = (begin, free)
    if len(folders) != 1 or "data.pkl" not in records:
        raise suspicious("a zip that torch.save did not write (one folder with a data.pkl)")
    return records


def _directory(data: mmap.mmap) -> int:
    """Where the central directory begins. The file ends with its end records, and nothing else.

    There are two: one with 32-bit numbers at the very end, and before it, in large files, one
    with 64-bit numbers and its locator.
    """
    end = len(data) - END.size
    if end < 0 or data[end : end + 4] != b"PK\5\6":
        raise damaged("its end record is missing")
    *_, size, start, n_comment = END.unpack(data[end:])
    if n_comment:
        raise damaged("its end records disagree")
    if data[max(0, end - LOCATOR.size) :][:4] == b"PK\6\7":
        _, _, place, _ = LOCATOR.unpack(data[end - LOCATOR.size : end])
        end -= LOCATOR.size + END_64.size
        if place != end or data[end : end + 4] != b"PK\6\6":
            raise damaged("its 64-bit end record is not where it should be")
        *_, size, start = END_64.unpack(data[end : end + END_64.size])
    if start + size != end:
        raise damaged("its end records disagree")
    if size > MAX_DIRECTORY_BYTES:
        raise suspicious(f"a zip directory of over {MAX_DIRECTORY_BYTES:,} bytes")
    return start


def _plain_name(entry: ZipInfo) -> str:
    """The name of a record that is stored as it is."""
    name = entry.orig_filename
    if not is_plain_name(name) or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise suspicious(f"a zip record named {shown(name)}")
    if entry.flag_bits & ~HARMLESS_FLAGS or entry.external_attr & FOLDER:
        raise suspicious(f"encrypted zip record {name}, or one of an unusual kind")
    if entry.compress_type != ZIP_STORED or entry.compress_size != entry.file_size:
        raise suspicious(f"compressed zip record {name}")
    return name


def _begin_of(entry: ZipInfo, data: mmap.mmap, name: str) -> int:
    """Where a record's bytes begin: behind a header that names it as the directory does."""
    at = entry.header_offset
    header = data[at : at + HEADER.size]
    if len(header) < HEADER.size or header[:4] != b"PK\3\4":
        raise damaged(f"the header of zip record {name} is missing")
    n_name, n_extra = HEADER.unpack(header)
    encoded = name.encode("utf-8" if entry.flag_bits & UTF_8 else "cp437")
    if data[at + HEADER.size : at + HEADER.size + n_name] != encoded:
        raise damaged(f"the header of zip record {name} has another name")
    return at + HEADER.size + n_name + n_extra
