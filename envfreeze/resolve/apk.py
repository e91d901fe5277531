"""What apk knows about a root: its database of installed packages, as it lies.

Sources: apk-tools, ``src/database.c`` (``apk_db_fdb_write``), ``src/package.c`` (the fields) and
``doc/apk-world.5.scd``. Since 3.0 the database may lie below ``/usr``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from envfreeze.resolve.packages import DatabaseError, Kind, Listing, Package
from envfreeze.resolve.rootfs import Root

PLACES = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
WORLD = "/etc/apk/world"

_LIMIT = 256 << 20
"""Bytes of a database: one of a thousand packages has ten million."""
_BARE = re.compile(r"!?(?P<name>[^<>=~@\s]+)")
_IDENTITY = re.compile(r"Q[12][A-Za-z0-9+/]{20,64}={0,2}")


class Apk(Listing):
    """The installed packages of one root."""

    kind: Kind = "apk"

    @classmethod
    def read(cls, root: Root | None = None) -> Apk | None:
        """The database of *root*; None where there is none.

        :raises DatabaseError: it is there and cannot be read.
        """
        root = root or Root()
        for place in PLACES:
            if root.exists(place):
                return cls(root, parse(_text(root, place)))
        return None

    def manual(self) -> set[str]:
        """Keys of what ``/etc/apk/world`` asks for."""
        names = set(_capabilities(_text(self.root, WORLD))) if self.root.exists(WORLD) else set()
        return {key for key, package in self.packages.items() if package.name in names}


def _text(root: Root, path: str) -> str:
    data = root.read(path, _LIMIT)
    if data is None:
        raise DatabaseError(f"{path} cannot be read")
    return data.decode("utf-8", "surrogateescape")


def parse(text: str) -> Iterator[Package]:
    """The packages of an ``installed`` database; a record without name or version is none."""
    for record in text.split("\n\n"):
        fields: dict[str, str] = {}
        files: list[str] = []
        directory = ""
        for line in record.split("\n"):
            letter, _, value = line.partition(":")
            if letter == "F":
                directory = f"/{value}".rstrip("/")
            elif letter == "R":
                files.append(f"{directory}/{value}")
            else:
                fields.setdefault(letter, value)
        if fields.get("P") and fields.get("V"):
            yield _package(fields, files)


def _package(fields: dict[str, str], files: list[str]) -> Package:
    identity = fields.get("C", "")
    return Package(
        name=fields["P"],
        version=fields["V"],
        arch=fields.get("A") or "noarch",
        source=fields.get("o") or None,
        licence=fields.get("L") or None,
        identity=identity if _IDENTITY.fullmatch(identity) else None,
        requires=tuple(_capabilities(fields.get("D", ""))),
        provides=tuple(_capabilities(fields.get("p", ""))),
        files=tuple(files),
    )


def _capabilities(text: str) -> Iterator[str]:
    """``so:libz.so.1=1.2.3 busybox>1 !conflict name@edge`` without versions, tags, conflicts."""
    for word in text.split():
        match = _BARE.match(word)
        if match and not word.startswith("!"):
            yield match["name"]
