"""Which database of system packages a root has."""

from __future__ import annotations

from envfreeze.resolve import apk, dpkg, rpmdb
from envfreeze.resolve.apk import Apk
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.packages import DatabaseError
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.rpm import Rpm

_WATCHED = (
    f"{dpkg.ADMIN}/status",
    dpkg.EXTENDED_STATES,
    *(
        f"{place}/{name}"
        for place in rpmdb.PLACES
        for name in (rpmdb.SQLITE, f"{rpmdb.SQLITE}-wal", rpmdb.NDB, rpmdb.BDB)
    ),
    *apk.PLACES,
    apk.WORLD,
)


def find(root: Root) -> tuple[Dpkg | Rpm | Apk | None, list[str]]:
    """The database that *root* was installed with, and what could not be read on the way.

    A Debian may have rpm's tools and an empty database of theirs, a Fedora dpkg's: the first
    that holds packages is the system's.
    """
    problems = []
    for kind in (Dpkg, Rpm, Apk):
        try:
            database = kind.read(root)
        except DatabaseError as error:
            problems.append(f"{kind.kind}: {error}")
            continue
        if database is not None and database.packages:
            return database, problems
    return None, problems


class Database:
    """The database of *root*, read when it is first asked for, and only then."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._found: tuple[Dpkg | Rpm | Apk | None, list[str]] | None = None

    def find(self) -> tuple[Dpkg | Rpm | Apk | None, list[str]]:
        """As :func:`find`."""
        if self._found is None:
            self._found = find(self.root)
        return self._found


def watched(root: Root) -> list[str]:
    """The files that change when packages come or go, whichever are there."""
    return [path for path in _WATCHED if root.exists(path)]
