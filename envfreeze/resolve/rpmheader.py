"""An rpm header as its database keeps it: an index of tags, and a store of their values.

Sources: rpm, ``docs/manual/format_v4.md`` and ``format_header.md`` for the layout,
``docs/manual/tags.md`` for the numbers. A header may be anybody's: every offset and count is
checked against the store, and a value that does not fit is not there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

NAME, VERSION, RELEASE, EPOCH = 1000, 1001, 1002, 1003
VENDOR, LICENSE, ARCH, SOURCERPM, SOURCEPACKAGE = 1011, 1014, 1022, 1044, 1106
OLDFILENAMES, FILESTATES, DIRINDEXES, BASENAMES, DIRNAMES = 1027, 1029, 1116, 1117, 1118
PROVIDENAME, REQUIRENAME = 1047, 1049
SHA1HEADER, SIGMD5, SHA256HEADER = 269, 261, 273

LIMIT = 256 << 20
"""Bytes of a header, rpm's own bound (``lib/header.cc``, ``headerMaxbytes``)."""
_MOST_TAGS = 0xFFFF
_ENTRY = struct.Struct(">iiii")
_CHAR, _INT8, _INT16, _INT32, _INT64, _STRING, _BIN, _STRINGS, _I18N = 1, 2, 3, 4, 5, 6, 7, 8, 9
_NUMBERS = {_CHAR: "B", _INT8: "B", _INT16: "H", _INT32: "I", _INT64: "Q"}


class BadHeaderError(Exception):
    """Bytes that are no header."""


class Header:
    """The tags of one header."""

    def __init__(self, blob: bytes) -> None:
        """:raises BadHeaderError: *blob* is none."""
        if len(blob) < 8 or len(blob) > LIMIT:
            raise BadHeaderError("a header of no size")
        count, size = struct.unpack_from(">II", blob)
        start = 8 + count * _ENTRY.size
        if not 0 < count <= _MOST_TAGS or start + size > len(blob):
            raise BadHeaderError("a header that is cut short")
        self._store = blob[start : start + size]
        self._index: dict[int, tuple[int, int, int]] = {}
        for tag, kind, offset, many in _ENTRY.iter_unpack(blob[8:start]):
            if 0 <= offset <= size and 0 < many <= size:
                self._index.setdefault(tag, (kind, offset, many))

    def text(self, tag: int) -> str | None:
        """A text; of a translated one the first, which is the untranslated."""
        kind, offset, _ = self._index.get(tag, (0, 0, 0))
        if kind not in {_STRING, _STRINGS, _I18N}:
            return None
        end = self._store.find(b"\0", offset)
        return None if end < 0 else _text(self._store[offset:end])

    def raw_texts(self, tag: int) -> list[bytes]:
        """The texts of an array; none where there are fewer than it says."""
        kind, offset, many = self._index.get(tag, (0, 0, 0))
        if kind not in {_STRINGS, _I18N, _STRING}:
            return []
        parts = self._store[offset:].split(b"\0", many)
        return parts[:many] if len(parts) > many else []

    def texts(self, tag: int) -> list[str]:
        return [_text(part) for part in self.raw_texts(tag)]

    def numbers(self, tag: int) -> tuple[int, ...]:
        kind, offset, many = self._index.get(tag, (0, 0, 0))
        letter = _NUMBERS.get(kind)
        if letter is None:
            return ()
        form = f">{many}{letter}"
        if offset + struct.calcsize(form) > len(self._store):
            return ()
        return struct.unpack_from(form, self._store, offset)

    def binary(self, tag: int) -> bytes | None:
        kind, offset, many = self._index.get(tag, (0, 0, 0))
        if kind != _BIN or offset + many > len(self._store):
            return None
        return self._store[offset : offset + many]

    def mentions(self, names: frozenset[bytes]) -> bool:
        """Whether one of *names* is the last part of a file's path: quick, and no more."""
        return not names.isdisjoint(self.raw_texts(BASENAMES)) or OLDFILENAMES in self._index

    def files(self) -> Iterator[str]:
        """The paths that are really installed: rpm can leave some out (``FILESTATES``: 0 is
        "normal", 3 is "net shared")."""
        names = self._paths()
        states = self.numbers(FILESTATES)
        for place, path in enumerate(names):
            if place >= len(states) or states[place] in {0, 3}:
                yield path

    def _paths(self) -> list[str]:
        bases, indexes = self.texts(BASENAMES), self.numbers(DIRINDEXES)
        directories = self.texts(DIRNAMES)
        if not bases:
            return self.texts(OLDFILENAMES)
        if len(indexes) != len(bases) or max(indexes) >= len(directories):
            return []
        return [directories[index] + base for index, base in zip(indexes, bases, strict=True)]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
