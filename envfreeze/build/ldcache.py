"""``/etc/ld.so.cache`` as ldconfig would leave it after some libraries came and others went.

The loader finds libraries in its default directories without it; ``ldconfig -p``, and with it
Python's ``ctypes.util.find_library``, does not.

Source: glibc ``sysdeps/generic/dl-cache.h`` (format 1.1), ``elf/cache.c`` and ``elf/dl-cache.c``
for the order.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable
from dataclasses import dataclass

MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")
_LITTLE = 2
_EXTENDED = 1 << 62
"""Marks an entry for one kind of processor (glibc-hwcaps)."""
_EXTENSIONS = struct.Struct("<II")
_SECTION = struct.Struct("<IIII")
_EXTENSION_MAGIC = 0xEAA42174
_MOST = 1 << 20


class CacheError(Exception):
    """A cache that is not understood, with the reason."""


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A library."""

    name: str
    path: str
    flags: int
    """Which kind of library it is: of which architecture."""
    hwcap: int = 0


def parse(data: bytes) -> list[Entry]:
    """:raises CacheError: another format, or entries for one kind of processor only."""
    if not data.startswith(MAGIC) or len(data) < _HEADER.size:
        raise CacheError("it is not of the format 1.1")
    _, count, _, flags, _ = _HEADER.unpack_from(data)
    if flags & 3 not in {0, _LITTLE} or count > _MOST:
        raise CacheError("it is of another byte order")
    try:
        rows = list(_ENTRY.iter_unpack(data[_HEADER.size : _HEADER.size + count * _ENTRY.size]))
        found = [
            Entry(_text(data, name), _text(data, path), kind, hwcap)
            for kind, name, path, _, hwcap in rows
        ]
    except (struct.error, ValueError) as error:
        raise CacheError(f"it is damaged: {error}") from error
    if len(found) != count or any(entry.hwcap for entry in found):
        raise CacheError("it has entries for some processors only")
    return found


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode("utf-8", "surrogateescape")


def render(entries: Iterable[Entry]) -> bytes:
    """The cache with *entries*; equal entries give equal bytes."""
    rows = sorted(set(entries), key=functools.cmp_to_key(_order))
    offsets: dict[str, int] = {}
    strings = bytearray()
    start = _HEADER.size + len(rows) * _ENTRY.size
    for text in (text for row in rows for text in (row.name, row.path)):
        if text not in offsets:
            offsets[text] = start + len(strings)
            strings += text.encode("utf-8", "surrogateescape") + b"\0"
    extension = start + len(strings) + -(start + len(strings)) % 4
    body = b"".join(
        _ENTRY.pack(row.flags, offsets[row.name], offsets[row.path], 0, row.hwcap) for row in rows
    )
    header = _HEADER.pack(MAGIC, len(rows), len(strings), _LITTLE, extension)
    padding = bytes(extension - start - len(strings))
    return header + body + bytes(strings) + padding + _EXTENSIONS.pack(_EXTENSION_MAGIC, 0)


def _order(one: Entry, other: Entry) -> int:
    """The loader searches by halves, in the descending order of the names."""
    found = compare_names(other.name, one.name)
    if found:
        return found
    return (other.flags > one.flags) - (other.flags < one.flags) or (
        (one.path > other.path) - (one.path < other.path)
    )


def compare_names(one: str, other: str) -> int:
    """``_dl_cache_libcmp``: digits by their number."""
    left, right = one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape")
    i = j = 0
    while i < len(left):
        mine, theirs = left[i : i + 1].isdigit(), right[j : j + 1].isdigit()
        if mine and theirs:
            end, other_end = _end(left, i), _end(right, j)
            difference = int(left[i:end]) - int(right[j:other_end])
            if difference:
                return difference
            i, j = end, other_end
        elif mine != theirs:
            return 1 if mine else -1
        elif left[i : i + 1] != right[j : j + 1]:
            return left[i] - (right[j] if j < len(right) else 0)
        else:
            i, j = i + 1, j + 1
    return -(right[j]) if j < len(right) else 0


def _end(text: bytes, start: int) -> int:
    while start < len(text) and text[start : start + 1].isdigit():
        start += 1
    return start
