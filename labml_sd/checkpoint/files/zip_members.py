r"""Find the members of a zip as torch.save writes it: plain bytes in one folder, each where both records say.

A zip describes each member twice, and readers differ in what they make of a file whose records
disagree. Such a file could show a scanner one pickle and a loader another. This reader takes
only what admits one reading: the records agree, nothing overlaps, nothing is compressed, and
nothing stands behind the end record.

Maps       the bytes of a file -> {name without the folder: (first byte, byte after the last)}
Reference  PKWARE APPNOTE 6.3.9, sections 4.3.7, 4.3.12 to 4.3.16 and 4.5.3
Tests      tests/checkpoint/files/test_zip_members.py
"""

import mmap
import struct
from dataclasses import dataclass

from labml_sd.checkpoint.files.pickle_values import DamagedError, PickleError
from labml_sd.checkpoint.printable import is_plain_name, shown

Span = tuple[int, int]  # first byte and the byte after the last, in the file
Bytes = bytes | mmap.mmap
MAX_MEMBERS = 50_000  # a training checkpoint of SD v1 with its optimizer has some 4,500
MAX_DIRECTORY_BYTES = 2**24

END = struct.Struct("<4s4H2IH")
END_64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR = struct.Struct("<4sIQI")
ENTRY = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")
WIDE, WIDE_SHORT = 0xFFFFFFFF, 0xFFFF  # "see the 64-bit field"
SIZES_FOLLOW = 0x8  # bit of the flags
HARMLESS_FLAGS = 0x80E  # and the two of the level of compression, and "the name is UTF-8"; others change bytes
IS_FOLDER = (
    0x10  # bit of the attributes; torch reads nothing from such a member, others read its bytes
)


@dataclass(frozen=True)
class Member:
    """An entry of the central directory."""

    name: bytes
    flags: int
    method: int
    compressed: int
    size: int
    offset: int


def zip_members(data: Bytes) -> dict[str, Span]:
    """List the members by name, without the folder that holds them all.

    Raises DamagedError when the file is damaged, PickleError when it holds what torch.save does
    not write.
    """
    start, end, count = _directory(data)
    members = _entries(data, start, end, count)
    spans: dict[str, Span] = {}
    folders, free = set(), 0
    for member in sorted(members, key=lambda m: m.offset):
        name = _name(member)
        begin = _begin_of(member, data, name)
        if member.offset < free or begin + member.size > start:
            raise DamagedError(f"zip member {name} overlaps another or the directory")
        free = begin + member.size
        folder, _, inside = name.partition("/")
        folders.add(folder)
        if inside in spans:
            raise PickleError(f"two zip members of one name, {name}")
        spans[inside] = (begin, free)
    if len(folders) != 1:
        raise PickleError(
            "a zip, but not one that torch.save wrote (its members lie in no one folder)"
        )
    return spans


def _record(
    layout: struct.Struct, data: Bytes, at: int, signature: bytes, name: str
) -> tuple[int, ...]:
    if at < 0 or at + layout.size > len(data):
        raise DamagedError(f"{name} is missing")
    found, *values = layout.unpack(data[at : at + layout.size])
    if found != signature:
        raise DamagedError(f"{name} is missing")
    return tuple(values)


def _directory(data: Bytes) -> tuple[int, int, int]:
    """Where the central directory begins and ends, and how many entries it has."""
    last = len(data) - END.size
    disk, disk_of, here, count, size, start, n_comment = _record(
        END, data, last, b"PK\5\6", "the end record"
    )
    end, short = last, (here, count, size, start)
    if data[last - LOCATOR.size : last][:4] == b"PK\6\7":
        end = last - LOCATOR.size - END_64.size
        disk_64, at, n_disks = _record(
            LOCATOR, data, last - LOCATOR.size, b"PK\6\7", "the locator"
        )
        n, _, _, *disks, here, count, size, start = _record(
            END_64, data, at, b"PK\6\6", "the 64-bit end record"
        )
        if (n, at, disks, disk_64) != (END_64.size - 12, end, [0, 0], 0) or n_disks > 1:
            raise DamagedError("its 64-bit end record is not where it should be")
    whole = (here, count, size, start)
    marks = (WIDE_SHORT, WIDE_SHORT, WIDE, WIDE)
    agree = all(s in (w, mark) for s, w, mark in zip(short, whole, marks, strict=True))
    if (
        not agree
        or (disk, disk_of, n_comment) != (0, 0, 0)
        or here != count
        or start + size != end
    ):
        raise DamagedError("its end records disagree")
    if count > MAX_MEMBERS or size > MAX_DIRECTORY_BYTES:
        raise PickleError(f"a zip of {count:,} members; at most {MAX_MEMBERS:,} are read")
    return start, end, count


def _entries(data: Bytes, start: int, end: int, count: int) -> list[Member]:
    members = []
    at = start
    for _ in range(count):
        if at + ENTRY.size > end:
            raise DamagedError("its directory is too short")
        values = _record(ENTRY, data, at, b"PK\1\2", "an entry of the directory")
        (
            _,
            _,
            flags,
            method,
            _,
            _,
            _,
            packed,
            size,
            n_name,
            n_extra,
            n_comment,
            disk,
            _,
            mode,
            offset,
        ) = values
        at += ENTRY.size
        name, extra = data[at : at + n_name], data[at + n_name : at + n_name + n_extra]
        at += n_name + n_extra + n_comment
        if at > end or disk or (mode & IS_FOLDER and size):
            raise DamagedError("an entry of the directory is damaged")
        size, packed, offset = _widen(extra, (size, packed, offset))
        members.append(Member(name, flags, method, packed, size, offset))
    if at != end:
        raise DamagedError("its directory holds more than its entries")
    return members


def _widen(extra: bytes, values: tuple[int, int, int]) -> list[int]:
    """Take sizes from the 64-bit field where the 32-bit one says so; they stand there in this order."""
    wide = b""
    while len(extra) >= 4:
        kind, n = struct.unpack_from("<2H", extra)
        if kind == 1:
            wide = extra[4 : 4 + n]
        extra = extra[4 + n :]
    found = []
    for value in values:
        if value == WIDE:
            if len(wide) < 8:
                raise DamagedError("a 64-bit size is missing")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        found.append(value)
    return found


def _name(member: Member) -> str:
    """The name, when the member is plain bytes under a plain name."""
    name = member.name.decode("utf-8", "replace")
    if (
        "\ufffd" in name
        or not is_plain_name(name)
        or {"", ".", ".."} & {*name.removesuffix("/").split("/")}
    ):
        raise PickleError(f"a zip member named {shown(name)}")
    if member.flags & ~HARMLESS_FLAGS:
        raise PickleError(f"encrypted zip member {name}, or one of an unusual kind")
    if member.method or member.compressed != member.size:
        raise PickleError(f"compressed zip member {name}")
    return name


def _begin_of(member: Member, data: Bytes, name: str) -> int:
    """Where a member's bytes begin. Its own header must say what the directory says."""
    values = _record(LOCAL, data, member.offset, b"PK\3\4", f"the header of zip member {name}")
    _, flags, method, _, _, _, packed, size, n_name, n_extra = values
    begin = member.offset + LOCAL.size + n_name + n_extra
    found = data[member.offset + LOCAL.size : begin]
    known = [] if flags & SIZES_FOLLOW else [packed, size]
    if WIDE in known:
        known = _widen(found[n_name:], (size, packed, 0))[:2]
    if (
        found[:n_name] != member.name
        or method
        or flags & ~HARMLESS_FLAGS
        or {*known} - {member.size}
    ):
        raise DamagedError(f"the header of zip member {name} is not what the directory says")
    return begin
