"""uv.lock: a graph that serves every platform, extra and group. Pure.

What is reached from the project along edges whose markers hold is there; what is reached only by
way of an extra, a group or a marker that nobody can evaluate may be; the rest is for other places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envfreeze.diff.foreign.document import Document, Entry, Table, from_toml, sha256s, wrong
from envfreeze.diff.foreign.place import Place, holds
from envfreeze.model.identity import normalize

KIND = "a uv.lock"
_OWN = ("editable", "virtual")
"""Sources of a project and the members of its workspace."""


class _Edge(Table, frozen=True, kw_only=True):
    name: str
    version: str | None = None
    marker: str | None = None
    extra: list[str] = []


class _File(Table, frozen=True, kw_only=True):
    hash: str = ""


class _Package(Table, frozen=True, kw_only=True):
    name: str
    version: str | None = None
    source: dict[str, str] = {}
    dependencies: list[_Edge] = []
    optional_dependencies: dict[str, list[_Edge]] = {}
    dev_dependencies: dict[str, list[_Edge]] = {}
    wheels: list[_File] = []
    sdist: _File | None = None

    @property
    def own(self) -> str | None:
        """Where it lies, of a project or a member of its workspace."""
        return next((self.source[kind] for kind in _OWN if kind in self.source), None)


class _Lock(Table, frozen=True, kw_only=True):
    version: int
    package: list[_Package] = []


def read(text: str, source: str, place: Place | None) -> Document:
    """Of a ``uv.lock``.

    :raises LockError: it is none, or one of a newer kind.
    """
    lock = from_toml(text, _Lock, source, KIND)
    if lock.version != 1:
        raise wrong(source, KIND, f"version {lock.version}; this envfreeze reads 1")
    named: dict[str, list[int]] = {}
    for number, package in enumerate(lock.package):
        named.setdefault(normalize(package.name), []).append(number)
    graph = _Graph(lock.package, named, place)
    roots = [number for number, one in enumerate(lock.package) if one.own == "."]
    members = [number for number, one in enumerate(lock.package) if one.own is not None]
    sure = graph.reached(roots, certain=True)
    starts = members or range(len(lock.package))
    maybe = graph.reached(starts, certain=False)
    entries = [
        _entry(lock.package[number], sure=number in sure)
        for number in sorted(maybe | sure)
        if "virtual" not in lock.package[number].source  # Never installed itself.
    ]
    return Document(entries=entries, reach={"packages": "all"})


class _Graph:
    """Who needs whom."""

    def __init__(
        self, packages: list[_Package], named: dict[str, list[int]], place: Place | None
    ) -> None:
        self._packages, self._named, self._place = packages, named, place

    def reached(self, starts: Iterable[int], *, certain: bool) -> set[int]:
        """What the *starts* need: for certain, or in any case that is not ruled out."""
        waiting: list[tuple[int, str]] = [(number, "") for number in starts]
        seen = set(waiting)
        while waiting:
            number, extra = waiting.pop()
            for edge in self._edges(self._packages[number], extra, certain):
                for step in self._ends(edge, certain):
                    if step not in seen:
                        seen.add(step)
                        waiting.append(step)
        return {number for number, _ in seen}

    def _edges(self, package: _Package, extra: str, certain: bool) -> Iterator[_Edge]:
        if extra:
            yield from package.optional_dependencies.get(extra, [])
            return
        yield from package.dependencies
        if not certain and package.own is not None:  # Nobody knows what was asked for.
            for group in (package.optional_dependencies, package.dev_dependencies):
                for edges in group.values():
                    yield from edges

    def _ends(self, edge: _Edge, certain: bool) -> Iterator[tuple[int, str]]:
        there = holds(edge.marker, self._place)
        if there is False or (certain and there is None):
            return
        for number in self._named.get(normalize(edge.name), []):
            if edge.version is None or self._packages[number].version == edge.version:
                yield number, ""
                yield from ((number, extra) for extra in edge.extra)


def _entry(package: _Package, *, sure: bool) -> Entry:
    files = [*package.wheels, *([package.sdist] if package.sdist else [])]
    return Entry(
        layer="packages",
        name=normalize(package.name),
        version=package.version or "",
        wanted=None if package.version else "what its directory or commit has",
        doubt="" if sure else "in some group, extra or place",
        listed=sha256s([file.hash for file in files]),
    )
