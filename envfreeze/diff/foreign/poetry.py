"""poetry.lock, of Poetry 1 and 2. Pure.

Only since lock-version 2.1 does a package tell its groups and markers; before, each may be for a
group or a platform, so that its version is known and not whether it is there.
"""

from __future__ import annotations

from envfreeze.diff.foreign.document import Document, Entry, Table, from_toml, sha256s, wrong
from envfreeze.diff.foreign.place import Place, holds
from envfreeze.model.identity import normalize

KIND = "a poetry.lock"
_MAIN = "main"


class _File(Table, frozen=True, kw_only=True):
    hash: str = ""


class _Package(Table, frozen=True, kw_only=True):
    name: str
    version: str
    optional: bool = False
    groups: list[str] | None = None
    markers: str | dict[str, str] | None = None
    files: list[_File] = []


class _Metadata(Table, frozen=True, kw_only=True):
    lock_version: str = "1.0"
    files: dict[str, list[_File]] = {}
    """Where lock-version 1 has them."""


class _Lock(Table, frozen=True, kw_only=True):
    metadata: _Metadata
    package: list[_Package] = []


def read(text: str, source: str, place: Place | None) -> Document:
    """Of a ``poetry.lock``.

    :raises LockError: it is none, or one of a newer kind.
    """
    lock = from_toml(text, _Lock, source, KIND)
    version = lock.metadata.lock_version
    if version.split(".")[0] not in {"1", "2"}:
        raise wrong(source, KIND, f"lock-version {version!r}; this envfreeze reads 1 and 2")
    entries = []
    for package in lock.package:
        doubt = _doubt(package, place)
        if doubt is None:
            continue
        files = package.files or lock.metadata.files.get(package.name, [])
        entries.append(
            Entry(
                layer="packages",
                name=normalize(package.name),
                version=package.version,
                doubt=doubt,
                listed=sha256s([file.hash for file in files]),
            )
        )
    return Document(entries=entries, reach={"packages": "all"}, names_projects=False)


def _doubt(package: _Package, place: Place | None) -> str | None:
    """Why it may not be there, empty where it is; None: it is for other places."""
    if package.groups is None:
        return "in some group, extra or place"
    markers = package.markers
    each = {
        group: holds(markers if isinstance(markers, str) else (markers or {}).get(group), place)
        for group in package.groups
    }
    if each and not any(there is not False for there in each.values()):
        return None
    if each.get(_MAIN) and not package.optional:
        return ""
    if package.optional or _MAIN not in each:
        return "in some extra" if package.optional else f"in group {', '.join(package.groups)}"
    return "in some place" if each[_MAIN] is None else "in some group"
