"""One member of a zip that lies elsewhere, read with a few range requests.

Source: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory),
4.3.14 to 4.3.16 (zip64 and end records). The archive is hostile until shown otherwise: every
offset, count and size in it is checked before anything is read or unpacked by it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from envfreeze.errors import ArtifactError

ReadRange = Callable[[int, int], bytes]
"""``(start, end)`` to the bytes of ``[start, end)``, exactly."""

TAIL = 16 * 1024
MAX_ENTRIES = 250_000
"""Ten times as many as the largest wheels have: they take 90 MB of memory."""
MAX_DIRECTORY = 64 << 20
_SLACK = 64 << 10
"""Bytes by which a packed member may be the larger: deflate adds less than a thousandth."""

_EOCD = struct.Struct("<4s4H2LH")
_LOCATOR64 = struct.Struct("<4sLQL")
_EOCD64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_NAMED = struct.Struct("<4s4xH18x3H")
"""What of ``_CENTRAL`` tells the name, and where the next entry is."""
_ATTRIBUTES = struct.Struct("<38xL")
"""The external attributes in ``_CENTRAL``."""
_LOCAL = struct.Struct("<4s5H3L2H")
_U32 = 0xFFFFFFFF
_U16 = 0xFFFF
_ENCRYPTED = 0x1
_UTF8 = 0x800
_STORED, _DEFLATED = 0, 8


class BadZip(ArtifactError):  # noqa: N818 - reads as what it is
    """Not a zip that can be read, or one that contradicts itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry of the central directory."""

    name: str
    method: int
    flags: int
    crc: int
    packed: int
    size: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Directory:
    start: int
    size: int
    entries: int
    shift: int
    """Bytes before the archive proper: every offset in it is that much too small."""


class RemoteZip:
    """The members of a zip of *size* bytes behind *read_range*.

    :param tail: how many bytes to read at first; as many as hold the central directory and
        the member that will be asked for make one request do.
    """

    def __init__(self, size: int, read_range: ReadRange, *, tail: int = TAIL) -> None:
        self._size = size
        self._read_range = read_range
        if size < _EOCD.size:
            raise BadZip(f"not a zip: {size} bytes")
        self._tail_start = max(0, size - max(tail, TAIL))
        self._tail = self._fetch(self._tail_start, size)
        self._shift = 0
        self._directory = b""
        self._members: dict[str, int] = {}
        """Where the entry of each begins in the directory; few of them are ever read."""
        self._doubled: set[str] = set()
        self._read_directory()

    @property
    def names(self) -> list[str]:
        """Every member's name, in the order of the directory. Never use one as a path."""
        return list(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def size_of(self, name: str) -> int:
        """The unpacked size that the directory states."""
        return self._member(name).size

    def executable(self) -> dict[str, int]:
        """The mode of each member that has an executable bit (external attributes, as Unix writes
        them)."""
        modes = (
            (name, _ATTRIBUTES.unpack_from(self._directory, place)[0] >> 16)
            for name, place in self._members.items()
        )
        return {name: mode for name, mode in modes if mode & 0o111}

    def read(self, name: str, limit: int) -> bytes:
        """The content of *name*, its size and CRC checked.

        :raises BadZip: it is not there, is larger than *limit*, or is damaged.
        """
        member = self._member(name)
        if member.size > limit or member.packed > member.size + (member.size >> 3) + _SLACK:
            raise BadZip(f"{name!r} is too large to read: {member.size} bytes")
        content = _unpack(member, self._packed(member))
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            raise BadZip(f"{name!r} is damaged: its size or CRC does not match")
        return content

    def _member(self, name: str) -> Member:
        if name in self._doubled:
            raise BadZip(f"{name!r} is in there twice")
        place = self._members.get(name)
        if place is None:
            raise BadZip(f"{name!r} is not in there")
        return _central(name, self._directory, place, self._shift)

    def _packed(self, member: Member) -> bytes:
        """4.3.7: the local header has its own lengths, which may differ from the directory's."""
        start = member.offset
        guess = _LOCAL.size + len(member.name.encode("utf-8", "replace")) + 64 + member.packed
        block = self._bytes(start, min(start + guess, self._size))
        if len(block) < _LOCAL.size or block[:4] != b"PK\x03\x04":
            raise BadZip(f"no local header for {member.name!r}")
        header = _LOCAL.unpack_from(block)
        data = _LOCAL.size + header[9] + header[10]
        if start + data + member.packed > self._size:
            raise BadZip(f"{member.name!r} runs past the end")
        if len(block) < data + member.packed:
            block += self._bytes(start + len(block), start + data + member.packed)
        return block[data : data + member.packed]

    # --- bytes ---------------------------------------------------------------------------

    def _bytes(self, start: int, end: int) -> bytes:
        if not 0 <= start <= end <= self._size:
            raise BadZip(f"it points at bytes {start} to {end} of {self._size}")
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        if end > self._tail_start:
            head = self._fetch(start, self._tail_start)
            return head + self._tail[: end - self._tail_start]
        return self._fetch(start, end)

    def _fetch(self, start: int, end: int) -> bytes:
        data = self._read_range(start, end) if end > start else b""
        if len(data) != end - start:
            raise BadZip(f"{len(data)} bytes came for a range of {end - start}")
        return data

    # --- directory -----------------------------------------------------------------------

    def _read_directory(self) -> None:
        where = self._find_directory()
        if where.entries > MAX_ENTRIES:
            raise BadZip(f"it claims {where.entries} members")
        if where.size > MAX_DIRECTORY or where.entries * _CENTRAL.size > where.size:
            raise BadZip(f"a directory of {where.size} bytes for {where.entries} members")
        self._directory = self._bytes(where.start, where.start + where.size)
        self._shift = where.shift
        position = 0
        for _ in range(where.entries):
            name, following = _named(self._directory, position)
            if name in self._members:
                self._doubled.add(name)
            self._members[name] = position
            position = following

    def _find_directory(self) -> _Directory:
        """4.3.16: the end record is the last one whose comment reaches the end of the file."""
        if self._tail_start and self._find_end() < 0:
            # 4.4.12: a comment has up to 65535 bytes.
            start = max(0, self._size - _EOCD.size - _U16)
            if start < self._tail_start:
                self._tail = self._fetch(start, self._tail_start) + self._tail
                self._tail_start = start
        place = self._find_end()
        if place < 0:
            raise BadZip("not a zip: it has no end record")
        record = _EOCD.unpack_from(self._tail, place)
        end = self._tail_start + place
        entries, size, offset = record[4], record[5], record[6]
        if entries == _U16 or size == _U32 or offset == _U32:
            wide = self._wide_directory(end)
            if wide is not None:
                return wide
        return _checked(entries, size, offset, end)

    def _find_end(self) -> int:
        tail = self._tail
        place = tail.rfind(b"PK\x05\x06")
        while place >= 0:
            if place + _EOCD.size <= len(tail):
                comment = _EOCD.unpack_from(tail, place)[7]
                if place + _EOCD.size + comment == len(tail):
                    return place
            place = tail.rfind(b"PK\x05\x06", 0, place)
        return -1

    def _wide_directory(self, end: int) -> _Directory | None:
        """4.3.15: the locator stands right before the end record."""
        if end < _LOCATOR64.size + _EOCD64.size:
            return None
        locator = _LOCATOR64.unpack(self._bytes(end - _LOCATOR64.size, end))
        if locator[0] != b"PK\x06\x07":
            return None
        # As zipfile does it: right before the locator, which also holds with data prepended.
        place = end - _LOCATOR64.size - _EOCD64.size
        record = _EOCD64.unpack(self._bytes(place, place + _EOCD64.size))
        if record[0] != b"PK\x06\x06":
            raise BadZip("its zip64 end record is not where its locator says")
        return _checked(record[7], record[8], record[9], place)


def _checked(entries: int, size: int, offset: int, end: int) -> _Directory:
    """The directory ends where the end record begins; what lies before is prepended data."""
    shift = end - size - offset
    if shift < 0:
        raise BadZip("its directory lies outside of it")
    return _Directory(offset + shift, size, entries, shift)


def _named(block: bytes, position: int) -> tuple[str, int]:
    """The name of the entry at *position*, and where the next one begins."""
    start = position + _CENTRAL.size
    if start > len(block):
        raise BadZip("its directory is cut short")
    signature, flags, name_size, extra_size, comment_size = _NAMED.unpack_from(block, position)
    if signature != b"PK\x01\x02":
        raise BadZip("its directory is damaged")
    following = start + name_size + extra_size + comment_size
    if following > len(block):
        raise BadZip("its directory is cut short")
    return _decode(block[start : start + name_size], flags), following


def _central(name: str, block: bytes, position: int, shift: int) -> Member:
    """The entry at *position*, which :func:`_named` has looked at."""
    head = _CENTRAL.unpack_from(block, position)
    packed, size, offset = head[8], head[9], head[16]
    if _U32 in (packed, size, offset):
        start = position + _CENTRAL.size + head[10]
        packed, size, offset = _wide_sizes(block[start : start + head[11]], packed, size, offset)
    return Member(
        name=name,
        method=head[4],
        flags=head[3],
        crc=head[7],
        packed=packed,
        size=size,
        offset=offset + shift,
    )


def _decode(raw: bytes, flags: int) -> str:
    """4.4.4, bit 11: UTF-8, else code page 437, as zipfile reads it."""
    if raw.isascii():  # As nearly all are; the same in either.
        return raw.decode("ascii")
    if not flags & _UTF8:
        return raw.decode("cp437")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadZip("a name in it is not UTF-8") from None


def _wide_sizes(extra: bytes, packed: int, size: int, offset: int) -> tuple[int, int, int]:
    """4.5.3: the zip64 extra field holds, in this order, just the values that are all ones."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        position += 4
        if kind == 1:
            return _wide_values(extra[position : position + length], packed, size, offset)
        position += length
    return packed, size, offset


def _wide_values(field: bytes, packed: int, size: int, offset: int) -> tuple[int, int, int]:
    wanted = [value == _U32 for value in (size, packed, offset)]
    if len(field) < 8 * sum(wanted):
        raise BadZip("a zip64 field in it is cut short")
    values = iter(struct.unpack_from(f"<{sum(wanted)}Q", field))
    size, packed, offset = (
        next(values) if wide else value
        for wide, value in zip(wanted, (size, packed, offset), strict=True)
    )
    return packed, size, offset


def _unpack(member: Member, packed: bytes) -> bytes:
    if member.flags & _ENCRYPTED:
        raise BadZip(f"{member.name!r} is encrypted")
    if member.method == _STORED:
        return packed
    if member.method != _DEFLATED:
        raise BadZip(f"{member.name!r} is packed by method {member.method}, which wheels lack")
    inflater = zlib.decompressobj(-15)
    try:
        content = inflater.decompress(packed, member.size + 1)
    except zlib.error as error:
        raise BadZip(f"{member.name!r} is damaged: {error}") from error
    return content
