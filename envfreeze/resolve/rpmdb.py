"""The three files in which rpm has kept its headers: sqlite, ndb, and Berkeley DB's hash.

Sources: rpm, ``lib/backend/sqlite.cc`` (the table), ``lib/backend/ndb/rpmpkg.c`` (slots and
blobs) and ``lib/backend/bdb_ro.cc`` (pages); Berkeley DB, ``src/dbinc/db_page.h``. They are read
as they lie, without locks and without a journal, and nothing is ever written beside them.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from envfreeze.resolve.packages import DatabaseError
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.rpmheader import LIMIT

PLACES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
SQLITE, NDB, BDB = "rpmdb.sqlite", "Packages.db", "Packages"

_DATABASE = 1 << 30
"""Bytes of a database: those of full desktops have some three hundred million."""
_STEPS = 2_000
"""Thousands of instructions of sqlite's machine; a table of a thousand rows takes a few."""


def find(root: Root) -> str | None:
    """The file that holds the headers, or None. Where rpm changed its format it left the older
    one behind: sqlite came last."""
    for name in (SQLITE, NDB, BDB):
        for place in PLACES:
            if root.exists(f"{place}/{name}"):
                return f"{place}/{name}"
    return None


def blobs(root: Root, path: str) -> Iterator[bytes]:
    """The headers in the database at *path*.

    :raises DatabaseError: it cannot be read, or is none.
    """
    name = path.rpartition("/")[2]
    if name == SQLITE:
        yield from _sqlite(Path(root.at(path)))
        return
    data = root.read(path, _DATABASE)
    if data is None:
        raise DatabaseError(f"{path} cannot be read")
    parse: Callable[[bytes], Iterator[bytes]] = ndb if name == NDB else bdb
    try:
        yield from parse(data)
    except struct.error as error:
        raise DatabaseError(f"{path} is cut short") from error


# --- sqlite ------------------------------------------------------------------------------


def _sqlite(path: Path) -> Iterator[bytes]:
    log = path.with_name(path.name + "-wal")
    try:
        size = path.stat().st_size
        pending = log.stat().st_size if log.exists() else 0
        if size + pending > _DATABASE:
            raise DatabaseError(f"{path.name} is larger than any")
        if not pending:
            yield from _rows(path, "mode=ro&immutable=1")
            return
        # What was written last is in the log alone, and only a copy may be brought up to date.
        with tempfile.TemporaryDirectory(prefix="envfreeze-") as directory:
            for file in (path, log):
                shutil.copyfile(file, Path(directory) / file.name)
            yield from _rows(Path(directory) / path.name, "mode=rw")
    except OSError as error:
        raise DatabaseError(f"{path.name}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise DatabaseError(f"{path.name}: {error}") from error


def _rows(path: Path, how: str) -> Iterator[bytes]:
    """An enemy's schema could compute for ever: only a real table is read, and not for long."""
    uri = f"file:{quote(str(path.absolute()))}?{how}"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        left = _STEPS

        def tired() -> int:
            nonlocal left
            left -= 1
            return int(left < 0)

        connection.set_progress_handler(tired, 1000)
        connection.execute("PRAGMA trusted_schema = OFF")
        kind = connection.execute(
            "SELECT type FROM sqlite_master WHERE name = 'Packages' AND sql NOT LIKE '%virtual%'"
        ).fetchone()
        if kind != ("table",):
            raise DatabaseError(f"{path.name} has no table of packages")
        query = "SELECT blob FROM Packages WHERE typeof(blob) = 'blob' AND length(blob) <= ?"
        for (blob,) in connection.execute(query, (LIMIT,)):
            yield blob


# --- ndb ---------------------------------------------------------------------------------

_NDB_PAGE, _NDB_UNIT = 4096, 16


def ndb(data: bytes) -> Iterator[bytes]:
    """The blobs of a ``Packages.db``: a header, pages of slots, then the blobs in units of
    sixteen bytes, each behind a head of its own.

    :raises DatabaseError: it is none.
    """
    magic, version, _, pages = struct.unpack_from("<4sIII", data)
    if magic != b"RpmP" or version != 0:
        raise DatabaseError("not a database of ndb, or a newer one")
    table = data[2 * _NDB_UNIT : min(pages * _NDB_PAGE, len(data))]
    left = len(data)
    for slot, index, start, units in struct.iter_unpack("<4sIII", table[: len(table) // 16 * 16]):
        if slot != b"Slot":
            raise DatabaseError("a damaged slot")
        if not start:
            continue
        offset = start * _NDB_UNIT
        head, owner, _, size = struct.unpack_from("<4sIII", data, offset)
        left -= size
        if head != b"BlbS" or owner != index or size > units * _NDB_UNIT or left < 0:
            raise DatabaseError("a slot that leads to no package")
        yield data[offset + _NDB_UNIT : offset + _NDB_UNIT + size]


# --- Berkeley DB -------------------------------------------------------------------------

_HASH_MAGIC = 0x061561
_META, _HASHES = 8, frozenset({2, 13})
_OVERFLOW = 7
_PAGE_HEAD = 26
_KEYDATA, _OFFPAGE = 1, 3


def bdb(data: bytes) -> Iterator[bytes]:
    """The values of a ``Packages`` of Berkeley DB's hash format, but for that of key 0, in which
    rpm counts.

    :raises DatabaseError: it is none.
    """
    magics = {struct.pack(end + "I", _HASH_MAGIC): end for end in "<>"}
    end = magics.get(data[12:16])
    if end is None or len(data) < 512:
        raise DatabaseError("not a hash of Berkeley DB")
    (size,) = struct.unpack_from(end + "I", data, 20)
    if not 512 <= size <= 65536 or size & (size - 1) or data[24:26] != bytes((0, _META)):
        raise DatabaseError("not a hash of Berkeley DB, or an encrypted one")
    pages = _Pages(data, size, end)
    for number in range(1, len(data) // size):
        if pages.kind(number) in _HASHES:
            yield from pages.values(number)


class _Pages:
    """The pages of one database."""

    def __init__(self, data: bytes, size: int, end: str) -> None:
        self._data = data
        self._size = size
        self._end = end
        self._left = 2 * len(data)
        """Bytes that overflow pages may still give: a database names each of them once."""

    def kind(self, number: int) -> int:
        """Of a page that says that it is this one; else 0, which is that of a free page."""
        if self._number(number, "I", 8) != number:
            return 0
        return self._data[number * self._size + 25]

    def _number(self, page: int, form: str, offset: int) -> int:
        place = page * self._size + offset
        found: int = struct.unpack_from(self._end + form, self._data, place)[0]
        return found

    def values(self, number: int) -> Iterator[bytes]:
        """Keys and values take turns, from the end of the page towards its head."""
        count = self._number(number, "H", 20)
        if _PAGE_HEAD + 2 * count > self._size:
            raise DatabaseError("a page with more entries than it has room for")
        places = [self._number(number, "H", _PAGE_HEAD + 2 * n) for n in range(count)]
        for key, value in zip(places[::2], places[1::2], strict=False):
            if not _PAGE_HEAD <= value < key <= self._size:
                raise DatabaseError("a page in disorder")
            if self._page(number)[key + 1 : key + 5] != bytes(4):
                yield self._value(number, value, key)

    def _page(self, number: int) -> bytes:
        start = number * self._size
        if number <= 0 or start + self._size > len(self._data):
            raise DatabaseError("a page that is not there")
        return self._data[start : start + self._size]

    def _value(self, number: int, start: int, stop: int) -> bytes:
        item = self._page(number)[start:stop]
        if item[0] == _KEYDATA:
            return item[1:]
        if item[0] != _OFFPAGE or len(item) < 12:
            raise DatabaseError("a value of no known kind")
        following, size = struct.unpack_from(self._end + "II", item, 4)
        return self._overflow(following, size)

    def _overflow(self, number: int, size: int) -> bytes:
        """A long value goes on from page to page."""
        parts: list[bytes] = []
        while number and size > 0:
            page = self._page(number)
            used = self._number(number, "H", 22)
            self._left -= self._size
            if page[25] != _OVERFLOW or used > self._size - _PAGE_HEAD or self._left < 0:
                raise DatabaseError("a value that leads astray")
            parts.append(page[_PAGE_HEAD : _PAGE_HEAD + used][:size])
            size -= len(parts[-1])
            number = self._number(number, "I", 16)
        if size:
            raise DatabaseError("a value that is cut short")
        return b"".join(parts)
