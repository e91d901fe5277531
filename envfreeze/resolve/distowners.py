"""Which distributions the system's own packages brought: Debian's and Fedora's Python packages.

Their metadata looks like pip's, with a RECORD that often says nothing true of the files; who owns
the file of the metadata is what counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from envfreeze.model.snapshot import Dist
from envfreeze.resolve.databases import Database
from envfreeze.resolve.debfile import parse_md5sums
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.dpkg import Installed as DpkgInstalled
from envfreeze.resolve.packages import Installed, merged_spellings

_PLACES = ("/usr/", "/opt/", "/lib/", "/lib64/")
_NOT = "/usr/local/"

Key = tuple[str, str]
"""A distribution's site directory and the name of its metadata in there."""


class SystemDists:
    """The distributions that system packages brought."""

    def __init__(self, dists: Iterable[Dist], database: Database) -> None:
        paths = {path: (dist.site, dist.info) for dist in dists for path in _metadata(dist)}
        self._root = database.root
        self._database = database.find()[0] if paths else None
        self._owners: dict[Key, str] = {}
        if self._database is None:
            return
        found: Mapping[str, Sequence[Installed]] = self._database.owners(sorted(paths))
        self._owners = {
            paths[path]: f"{self._database.kind} {owners[0].name} {owners[0].version}"
            for path, owners in sorted(found.items())
            if owners
        }

    def owner(self, dist: Dist) -> str | None:
        """``dpkg python3-yaml 6.0-3+b2``; None: no system package brought it."""
        return self._owners.get((dist.site, dist.info))

    def changed(self, dist: Dist, files: Iterable[str]) -> list[str]:
        """Of *files* (``scheme/path``), which RECORD calls changed, those that are not as the
        system package brought them either; rpm and apk are not asked."""
        if not isinstance(self._database, Dpkg):
            return []
        places = {f"{dist.site}/{key[5:]}": key for key in files if key.startswith("site/")}
        owners = self._database.owners(sorted(places))
        return sorted(
            key
            for path, key in places.items()
            if not any(self._is_as_brought(path, package) for package in owners.get(path, []))
        )

    def _is_as_brought(self, path: str, package: DpkgInstalled) -> bool:
        if not isinstance(self._database, Dpkg):
            return False
        sums = parse_md5sums(self._database.info(package, "md5sums") or b"")
        wanted = {sums[name] for name in map(_listed, merged_spellings(path)) if name in sums}
        try:
            with open(self._root.host(path), "rb") as file:  # noqa: PTH123
                digest = hashlib.md5(file.read(), usedforsecurity=False)
        except OSError:
            return False
        return digest.hexdigest() in wanted


def _listed(path: str) -> str:
    return path.lstrip("/")


def _metadata(dist: Dist) -> Iterator[str]:
    """Where the metadata of *dist* may lie, if that is where system packages put theirs."""
    if not dist.site.startswith(_PLACES) or (dist.site + "/").startswith(_NOT):
        return
    place = f"{dist.site}/{dist.info}"
    yield from (place, f"{place}/METADATA", f"{place}/PKG-INFO")
