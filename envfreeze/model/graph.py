"""Which package of a lock needs which other one, as far as the lock says it. Pure.

Three kinds of nodes: distributions (by their Requires-Dist), conda packages and system packages
(by the dependencies of their records). A lock is untrusted: there may be cycles, and chains of any
length, so nothing here calls itself.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from envfreeze.model.conda import CondaLayer
from envfreeze.model.identity import normalize
from envfreeze.model.lock import Lock, Loose, Package, SystemLayer, Unproved
from envfreeze.model.requirement import asked_for, extras_of, holds, marker_terms, parse

Kind = Literal["python", "conda", "system"]
Key = tuple[Kind, str]
"""A kind and a name; a distribution's is normalised."""

_TRIES = 20_000
"""Steps in a search for ways, after which it is given up: there may be more than anybody counts."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One package needs another."""

    to: Key
    condition: str = ""
    """Which versions, and the extra that it is for: ``<3,>=1.21; extra socks``. Untrusted."""


@dataclass(slots=True)
class Node:
    """One package, and what it needs."""

    key: Key
    version: str
    asked: bool = False
    """A person asked for it, as far as its installer says so."""
    needs: list[Edge] = field(default_factory=list)
    optional: list[Edge] = field(default_factory=list)
    """What it would need under an extra that nothing in the lock asks for; a person may have."""
    missing: list[str] = field(default_factory=list)
    """Lines of Requires-Dist that hold and that nothing in the lock satisfies. Untrusted."""

    @property
    def name(self) -> str:
        return self.key[1]


@dataclass(frozen=True, slots=True)
class Ways:
    """How a package is reached: each way from a root to it, the shortest first."""

    found: list[list[Key]]
    more: bool
    """Whether there are others, or it was not searched to the end."""


class Graph:
    """The packages of a lock."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes: dict[Key, Node] = {}
        for node in nodes:
            self.nodes.setdefault(node.key, node)
        self.needed_by: dict[Key, list[Key]] = {key: [] for key in self.nodes}
        self.offered_by: dict[Key, list[tuple[Key, str]]] = defaultdict(list)
        """Who would need it under an extra, with :attr:`Edge.condition`."""
        for key, node in self.nodes.items():
            for to in dict.fromkeys(edge.to for edge in node.needs):
                self.needed_by[to].append(key)
            for edge in node.optional:
                self.offered_by[edge.to].append((key, edge.condition))
        self.roots = self._roots()

    def _roots(self) -> list[Key]:
        """What nothing else needs; of packages that need each other in a circle, one. Sorted."""
        tops = [key for key, needing in self.needed_by.items() if set(needing) <= {key}]
        reached = self._reach(tops, set())
        roots = set(tops)
        # The last one that a depth-first search leaves lies in a circle that nothing leads into.
        for last in reversed(self._left([key for key in self.nodes if key not in reached])):
            if last not in reached:
                circle = self._reach([last], reached, self.needed_by)
                first = min(circle, key=lambda key: (not self.nodes[key].asked, key))
                roots.add(first)
                reached |= self._reach([first], reached)
        return sorted(roots)

    def _reach(
        self, start: Iterable[Key], barred: set[Key], ways: Mapping[Key, list[Key]] | None = None
    ) -> set[Key]:
        pending, found = list(start), set[Key]()
        while pending:
            key = pending.pop()
            if key not in found and key not in barred:
                found.add(key)
                pending += ways[key] if ways else (edge.to for edge in self.nodes[key].needs)
        return found

    def _left(self, keys: list[Key]) -> list[Key]:
        """*keys* in the order in which a depth-first search leaves them."""
        order: list[Key] = []
        seen: set[Key] = set()
        for first in keys:
            stack: list[tuple[Key, Iterator[Edge]]] = []
            following: Key | None = None if first in seen else first
            while stack or following is not None:
                if following is not None:
                    seen.add(following)
                    stack.append((following, iter(self.nodes[following].needs)))
                key, edges = stack[-1]
                following = next((edge.to for edge in edges if edge.to not in seen), None)
                if following is None:
                    order.append(key)
                    stack.pop()
        return order

    def ways(self, key: Key, most: int) -> Ways:
        """The ways from a root, or from what a person asked for, to *key*."""
        starts = {*self.roots, *(key for key, node in self.nodes.items() if node.asked)}
        far = self._distances(starts)
        turn = count(0, -1)  # Of equally long ones the last one begun: one is finished early.
        heap = [(far[key], next(turn), [key])]
        found: list[list[Key]] = []
        tries = 0
        while heap:
            _, _, way = heapq.heappop(heap)
            tries += 1
            if len(found) == most or tries > _TRIES:
                return Ways(found, True)
            if way[0] in starts:
                found.append(way)
            for needing in sorted(self.needed_by[way[0]], reverse=True):
                if needing not in way:
                    heapq.heappush(heap, (len(way) + far[needing], next(turn), [needing, *way]))
        return Ways(found, False)

    def _distances(self, starts: Iterable[Key]) -> dict[Key, int]:
        """How many steps each package is away from the nearest of *starts*."""
        far = dict.fromkeys(starts, 0)
        line = sorted(far)
        for key in line:
            for edge in self.nodes[key].needs:
                if edge.to not in far:
                    far[edge.to] = far[key] + 1
                    line.append(edge.to)
        return far


def graph(lock: Lock) -> Graph:
    """The packages of *lock*, whatever brings them."""
    machine = lock.machine
    nodes = [*_Distributions(lock).nodes()]
    nodes += _conda(machine.conda) if machine.conda else []
    nodes += _system(machine.system)
    return Graph(nodes)


class _Distributions:
    """What distributions need, extras followed to where they lead."""

    def __init__(self, lock: Lock) -> None:
        machine = lock.machine
        self._terms = marker_terms(machine.interpreter.facts, machine.system.kernel)
        self._seen: dict[str, list[Package | Loose | Unproved]] = defaultdict(list)
        ones: list[Package | Loose | Unproved] = [*lock.packages, *machine.loose_dists]
        ones += [held for held in machine.held if not held.facts.behind]
        ones += [lost for lost in machine.unproved if not lost.shadowed]
        for one in ones:
            self._seen[normalize(one.name)].append(one)
        self._conda = _by_distribution(machine.conda)
        self._extras: dict[str, set[str]] = {name: {""} for name in self._seen}
        self._ask()

    def _ask(self) -> None:
        """Find which extras the distributions ask of each other."""
        pending = [(name, "") for name in self._seen]
        while pending:
            name, extra = pending.pop()
            for line in self._lines(name):
                wanted, extras, marker = parse(line)
                if wanted not in self._extras or not holds(marker, {**self._terms, "extra": extra}):
                    continue
                for new in set(extras) - self._extras[wanted]:
                    self._extras[wanted].add(new)
                    pending.append((wanted, new))

    def _lines(self, name: str) -> list[str]:
        return [
            line
            for one in self._seen[name]
            for line in (one.facts.requires if isinstance(one, Package) else one.requires)
        ]

    def nodes(self) -> Iterator[Node]:
        for name, ones in self._seen.items():
            first = ones[0]
            version = first.version or ""
            asked = False
            if isinstance(first, Package):
                facts = first.facts
                version = facts.version or version
                asked = asked_for(facts.requested, facts.installer)
            node = Node(("python", name), version, asked)
            for line in self._lines(name):
                self._add(node, line)
            yield node

    def _add(self, node: Node, line: str) -> None:
        wanted, _, marker = parse(line)
        if wanted is None:
            return
        to: Key | None = ("python", wanted) if wanted in self._seen else self._conda.get(wanted)
        asked = self._extras[node.name]
        for extra in ["", *extras_of(line)]:
            if holds(marker, {**self._terms, "extra": extra}):
                if to is not None:
                    edge = Edge(to, _condition(line, extra))
                    (node.needs if extra in asked else node.optional).append(edge)
                elif extra in asked:
                    node.missing.append(line)
                return


def _condition(line: str, extra: str) -> str:
    """What *line* says of versions, and *extra*."""
    text = line.partition(";")[0].partition("@")[0].strip()
    start = max(text.find("]") + 1, 0)
    if not start:
        start = next((i for i, c in enumerate(text) if c in " (<>=!~"), len(text))
    versions = text[start:].strip().strip("()").strip()
    return "; ".join(part for part in (versions, f"extra {extra}" if extra else "") if part)


def _by_distribution(layer: CondaLayer | None) -> dict[str, Key]:
    """The conda package that brings each distribution. One that is not told of is called like its
    package: a requirement is kept only where it names a distribution that was there."""
    found: dict[str, Key] = {}
    for package in layer.packages if layer else []:
        for name in package.dists or [normalize(package.name)]:
            found.setdefault(normalize(name), ("conda", package.name))
    return found


def _conda(layer: CondaLayer) -> Iterator[Node]:
    names = {package.name for package in layer.packages}
    for package in layer.packages:
        node = Node(("conda", package.name), package.version, bool(package.requested))
        for spec in package.depends:
            name, _, condition = spec.strip().partition(" ")
            if name in names:
                node.needs.append(Edge(("conda", name), condition.strip()))
            elif name and not name.startswith("__"):
                node.missing.append(spec)
        yield node


def _system(layer: SystemLayer) -> Iterator[Node]:
    """Packages of one name and several architectures are one node."""
    needs: dict[str, dict[str, None]] = {}
    versions: dict[str, str] = {}
    for package in (*layer.packages, *layer.others):
        versions.setdefault(package.name, package.version)
        needs.setdefault(package.name, {}).update(dict.fromkeys(package.depends))
    for named in (*layer.held, *layer.named):
        versions.setdefault(named.name, named.version)
    for name, version in versions.items():
        below = [other for other in needs.get(name, ()) if other in versions and other != name]
        yield Node(("system", name), version, needs=[Edge(("system", other)) for other in below])
