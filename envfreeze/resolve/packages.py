"""What dpkg, rpm and apk have in common: packages, the files they brought, what they depend on.

:class:`~envfreeze.resolve.dpkg.Dpkg` keeps whole status stanzas, for its packages are proved or
packed. rpm and apk share :class:`Listing`: their packages are identified by their databases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from envfreeze.resolve.rootfs import Root

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32")
_PLAIN = re.compile(r"[!-~]{1,256} [!-~]{1,256} [!-~]{1,64}")

Kind = Literal["dpkg", "rpm", "apk"]


class DatabaseError(Exception):
    """A database that is there and cannot be read: one line that says why."""


class Installed(Protocol):
    """One installed package, of any database."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def arch(self) -> str: ...

    @property
    def key(self) -> str:
        """What tells it from every other package of its database."""


class Database(Protocol):
    """The installed packages of one root; what is common to all of them, whatever the type of
    their packages."""

    kind: Kind
    root: Root

    @property
    def packages(self) -> Mapping[str, Installed]:
        """By key."""

    def manual(self) -> set[str] | None:
        """Keys of what somebody asked for; None: this database does not know."""

    # Each has also, for its own type of package P:
    #   owners(paths: Iterable[str]) -> dict[str, list[P]]    a path nobody brought is left out
    #   closure(packages: Iterable[P]) -> list[P]             and all that they depend on


class Keyed(Protocol):
    """What is known by a key: name and architecture."""

    @property
    def key(self) -> str: ...


_Keyed = TypeVar("_Keyed", bound=Keyed)


def closed(
    packages: Iterable[_Keyed], depends: Callable[[_Keyed], Iterable[_Keyed]]
) -> list[_Keyed]:
    """*packages* and all that they depend on, by name."""
    found: dict[str, _Keyed] = {}
    queue = list(packages)
    while queue:
        package = queue.pop()
        if package.key not in found:
            found[package.key] = package
            queue += depends(package)
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package as rpm's or apk's database has it."""

    name: str
    version: str
    """With epoch and release: ``1:2.0-3.el9``, ``1.2.4-r2``."""
    arch: str
    source: str | None = None
    """The source package."""
    origin: str | None = None
    """Who made it: rpm's vendor."""
    licence: str | None = None
    identity: str | None = None
    """What tells this build from every other of its name and version: ``sha256:HEX`` of rpm's
    header, apk's ``Q1BASE64``."""
    requires: tuple[str, ...] = ()
    """Capabilities without their versions: names, sonames, paths."""
    provides: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """Absolute paths; of rpm's, none: :meth:`Listing.owned` reads them when they are asked for."""

    @property
    def key(self) -> str:
        return f"{self.name} {self.version} {self.arch}"


class Listing:
    """The packages of a database that names what they provide and require."""

    kind: Kind

    def __init__(self, root: Root, packages: Iterable[Package]) -> None:
        self.root = root
        ordered = sorted(packages, key=lambda package: package.key)
        self.packages = {package.key: package for package in ordered}
        self._providers: dict[str, list[Package]] = {}
        for package in self.packages.values():
            for capability in dict.fromkeys((package.name, *package.provides)):
                self._providers.setdefault(capability, []).append(package)
        self._by_path: dict[str, list[Package]] | None = None

    def owned(self, package: Package, wanted: frozenset[str]) -> Iterator[str]:
        """Those of *wanted* that are files of *package*, as it spells them."""
        yield from (path for path in package.files if path in wanted)

    def owners(self, paths: Iterable[str]) -> dict[str, list[Package]]:
        """The packages that brought each path; a path that nobody brought is left out."""
        spelled: dict[str, list[str]] = {}
        for path in paths:
            for name in merged_spellings(path):
                spelled.setdefault(name, []).append(path)
        wanted = frozenset(spelled)
        found: dict[str, list[Package]] = {}
        for package in self.packages.values():
            for listed in self.owned(package, wanted):
                for path in spelled[listed]:
                    if package not in found.setdefault(path, []):
                        found[path].append(package)
        return found

    def depends(self, package: Package) -> list[Package]:
        """What satisfies the requirements of *package* here, without repeats."""
        found: dict[str, Package] = {}
        for capability in package.requires:
            providers = self._providers.get(capability) or self._owners_of(capability)
            if package not in providers:
                found |= {provider.key: provider for provider in providers[:1]}
        return list(found.values())

    def _owners_of(self, path: str) -> list[Package]:
        """Who brought the file that a package requires by path (``/bin/sh``)."""
        if not path.startswith("/"):
            return []
        if self._by_path is None:
            every = (name for package in self.packages.values() for name in package.requires)
            self._by_path = self.owners({name for name in every if name.startswith("/")})
        return self._by_path.get(path, [])

    def closure(self, packages: Iterable[Package]) -> list[Package]:
        """*packages* and everything they depend on, by name."""
        return closed(packages, self.depends)

    def manual(self) -> set[str] | None:
        """Keys of what somebody asked for; None: this database does not know."""
        return None


def inventory(packages: Mapping[str, Installed], manual: Container[str] | None) -> list[str]:
    """Every installed package as ``name version arch``, and ``manual`` or ``auto`` where that
    is known; sorted. What is no such line is left out: no package is called so."""
    lines = []
    for key, package in packages.items():
        line = f"{package.name} {package.version} {package.arch}"
        if _PLAIN.fullmatch(line):
            mark = "" if manual is None else " manual" if key in manual else " auto"
            lines.append(line + mark)
    return sorted(lines)


def merged_spellings(path: str) -> list[str]:
    """*path*, and its other name where ``/lib`` is ``/usr/lib``."""
    head = path.split("/", 3)
    if len(head) > 2 and head[1] in _MERGED:
        return [path, "/usr" + path]
    if len(head) > 3 and head[1] == "usr" and head[2] in _MERGED:
        return [path, path[4:]]
    return [path]
