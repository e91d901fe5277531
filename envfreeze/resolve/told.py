"""What distributions say of themselves, put into a lock beside what was seen: requirements and
licences. No part of the id, and nothing that a rebuild acts on. Pure."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from envfreeze.model.conda import CondaLayer
from envfreeze.model.identity import normalize
from envfreeze.model.lock import Lock, Loose, Package, PackageTool, Unproved
from envfreeze.model.requirement import kept, marker_terms
from envfreeze.model.snapshot import Dist, Snapshot

_Named = TypeVar("_Named", Loose, Unproved)


def told(lock: Lock, snapshot: Snapshot) -> Lock:
    """*lock* with what the metadata in *snapshot* says."""
    teller = _Teller(lock, snapshot)
    machine = lock.machine
    lock = lock.with_machine(
        held=[teller.package(package) for package in machine.held],
        shadowed=[teller.package(package) for package in machine.shadowed],
        loose_dists=[teller.named(one) for one in machine.loose_dists],
        unproved=[teller.named(one) for one in machine.unproved],
        conda=_with_dists(machine.conda, snapshot) if machine.conda else None,
    )
    return msgspec.structs.replace(lock, packages=[teller.package(p) for p in lock.packages])


class _Teller:
    def __init__(self, lock: Lock, snapshot: Snapshot) -> None:
        self._lock = lock
        self._dists = {(dist.site, dist.info): dist for dist in snapshot.dists}
        self._names = {normalize(dist.name) for dist in snapshot.dists}
        self._terms = marker_terms(snapshot.interpreter, snapshot.system.kernel)

    def package(self, package: Package) -> Package:
        dist = self._dists.get((self._lock.site_of(package), package.facts.info))
        if dist is None:
            return package
        facts = msgspec.structs.replace(
            package.facts, requires=self._requires(dist), licence=dist.licence
        )
        return msgspec.structs.replace(package, tool=PackageTool(envfreeze=facts))

    def named(self, one: _Named) -> _Named:
        dist = self._dists.get((one.site, one.info))
        if dist is None:
            return one
        return msgspec.structs.replace(one, requires=self._requires(dist), licence=dist.licence)

    def _requires(self, dist: Dist) -> list[str]:
        return kept(dist.requires, self._names, self._terms)


def _with_dists(layer: CondaLayer, snapshot: Snapshot) -> CondaLayer:
    """*layer*, each package with the distributions in it, where those are called otherwise."""
    names = (
        {record.file: record.name for record in snapshot.conda.records} if snapshot.conda else {}
    )
    found: dict[str, set[str]] = {}
    for dist in snapshot.dists:
        if dist.conda in names:
            found.setdefault(names[dist.conda], set()).add(normalize(dist.name))
    packages = [
        package
        if found.get(package.name, set()) <= {normalize(package.name)}
        else msgspec.structs.replace(package, dists=sorted(found[package.name]))
        for package in layer.packages
    ]
    return msgspec.structs.replace(layer, packages=packages)
