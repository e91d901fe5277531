"""The machine's part of a lock: the interpreter and the system packages that it needs."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from envfreeze.errors import IndexUnavailableError
from envfreeze.model.host import Host
from envfreeze.model.lock import (
    Artifact,
    InterpreterLayer,
    SystemLayer,
    SystemPackage,
    UnownedFiles,
)
from envfreeze.model.snapshot import Finding, Interpreter, Snapshot
from envfreeze.model.survey import Survey, digest_of
from envfreeze.resolve import below, databases, interpreter, programs
from envfreeze.resolve.apk import Apk
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.frozen import stamp, still
from envfreeze.resolve.http import Http
from envfreeze.resolve.packages import Installed, inventory
from envfreeze.resolve.provenance import Place, describe
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.rpm import Rpm
from envfreeze.resolve.system import Base, Locker, MachineMeans, System
from envfreeze.store import BlobWriter, Cache, Sidecar, kept

__all__ = ["MachineLayers", "MachineMeans", "lock_machine", "lock_system", "read_base"]

_NOTE = "system"
_NOTE_VERSION = 6
APT_LISTS = "/var/lib/apt/lists"
LOADER_INDEX = "/etc/ld.so.cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLayers:
    """The layers below the packages, and what was noticed on the way."""

    interpreter: InterpreterLayer
    system: SystemLayer
    host: Host | None = None
    findings: list[Finding] = field(default_factory=list)
    watched: dict[str, str] = field(default_factory=dict)
    """The files that this was read from, and their stamps."""


class _Watched:
    """The network, and whether it failed: what it did not say is not remembered."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self.failed = False

    def read_range(self, url: str, start: int, end: int) -> bytes:
        with self._watch():
            return self._http.read_range(url, start, end)

    def download(self, url: str, writer: BlobWriter, expect_size: int | None = None) -> None:
        with self._watch():
            self._http.download(url, writer, expect_size)

    @contextlib.contextmanager
    def _watch(self) -> Iterator[None]:
        try:
            yield
        except IndexUnavailableError:
            self.failed = True
            raise


def lock_machine(snapshot: Snapshot, seen: Survey, means: MachineMeans) -> MachineLayers:
    """Lock the interpreter and the system packages whose libraries the environment loads.

    :raises UsageError: one of ``means.needs`` is not there.
    """
    facts = snapshot.interpreter
    base = read_base(facts, means)
    with means.progress.task("interpreter"):
        own = _interpreter(facts, base, means, conda=_is_condas(snapshot))
        dpkg = base.database if isinstance(base.database, Dpkg) else None
        place = Place(root=means.root, dpkg=dpkg, os_release=snapshot.system.os_release)
        own = describe(own, base.origin, place, means.cache)
    with means.progress.task("system"):
        layer, system = lock_system(snapshot, seen, base, means)
    return MachineLayers(
        interpreter=own,
        system=layer,
        host=below.described(snapshot, lambda paths: _owned(paths, base)),
        findings=system.findings,
        watched=system.libraries
        | {path: stamp(path) for path in _watched(facts, means.root)}
        | {path: stamp(path) for path in interpreter.watched(base.own, means.root)},
    )


def _owned(paths: Sequence[str], base: Base) -> dict[str, str]:
    """The system packages that own what lies at these paths, links resolved."""
    database = base.database
    if database is None:
        return {}
    real = {path: base.root.real(path) for path in paths}
    owners: Mapping[str, Sequence[Installed]] = database.owners(sorted(set(real.values())))
    owned = ((path, owners.get(place)) for path, place in real.items())
    return {path: f"{database.kind} {found[0].name}" for path, found in owned if found}


def lock_system(
    snapshot: Snapshot, seen: Survey, base: Base, means: MachineMeans
) -> tuple[SystemLayer, System]:
    """The system layer, and what it was made from."""
    system = _remembered_system(snapshot, seen, base, means)
    database = base.database
    layer = SystemLayer(
        kernel=snapshot.system.kernel,
        machine=snapshot.system.machine,
        os_release=dict(sorted(snapshot.system.os_release.items())),
        manager=None if database is None else database.kind,
        installed=[] if database is None else inventory(database.packages, database.manual()),
        needs=system.needs,
        named=system.named,
        unowned=system.unowned,
        library_path=system.library_path,
        packages=system.packages,
        held=system.held,
        unproved=system.unproved,
        essential=_essential(database),
        scope=means.scope,
        others=system.others,
    )
    return layer, system


def _essential(database: Dpkg | Rpm | Apk | None) -> list[str]:
    return [p.key for p in database.essential()] if isinstance(database, Dpkg) else []


def read_base(facts: Interpreter, means: MachineMeans) -> Base:
    """What the machine has: its database, who brought the interpreter, the programs asked for.

    :raises UsageError: one of ``means.needs`` is not there.
    """
    root = means.root
    database, problems = (means.database or databases.Database(root)).find()
    path = os.environ.get("PATH", os.defpath) if means.path is None else means.path
    return Base(
        root=root,
        database=database,
        problems=problems,
        own=interpreter.interpreter_files(facts, root=root),
        origin=interpreter.origin(facts, database if isinstance(database, Dpkg) else None),
        programs=programs.find(root, means.needs, f"{facts.scripts}:{path}"),
    )


def _watched(facts: Interpreter, root: Root) -> list[str]:
    paths = (*databases.watched(root), APT_LISTS, LOADER_INDEX, facts.base_executable)
    return [root.at(path) for path in paths]


def _is_condas(snapshot: Snapshot) -> bool:
    """Whether a package of the conda environment brings the interpreter."""
    records = snapshot.conda.records if snapshot.conda else []
    return any(record.name in {"python", "pypy", "graalpy"} for record in records)


def _interpreter(
    facts: Interpreter, base: Base, means: MachineMeans, *, conda: bool
) -> InterpreterLayer:
    if conda:
        return InterpreterLayer(facts=facts, origin="conda")
    if base.origin.kind == "system":
        return InterpreterLayer(facts=facts, origin="system")
    if means.base is not None and means.base.has_all(map(str, base.own)):
        return InterpreterLayer(facts=facts, origin="base")
    if not means.pack:
        return InterpreterLayer(facts=facts, origin="unpacked")
    sha256, _ = interpreter.pack(facts, means.cache, root=means.root, files=base.own)
    archive = kept(means.cache, means.sidecar, sha256, f"python-{facts.version}.tar.gz")
    return InterpreterLayer(facts=facts, origin="packed", archive=archive)


def _remembered_system(snapshot: Snapshot, seen: Survey, base: Base, means: MachineMeans) -> System:
    """The system layer, from an earlier run if neither environment nor system has changed."""
    key = _key(snapshot, seen, base, means)
    data = means.cache.read_note(_NOTE, key)
    if data is not None:
        try:
            known = msgspec.json.decode(data, type=System)
        except msgspec.MsgspecError:
            known = None
        if known is not None and _holds(known, means.cache):
            known.packages = [_renamed(package, means.sidecar) for package in known.packages]
            known.others = [_renamed(package, means.sidecar) for package in known.others]
            known.unowned = _renamed_files(known.unowned, means.sidecar)
            return known
    http = None if means.http is None else _Watched(means.http)
    system = Locker(snapshot, seen, base, means, http).system()
    if http is None or not http.failed:
        means.cache.write_note(_NOTE, key, msgspec.json.encode(system))
    return system


def _holds(known: System, cache: Cache) -> bool:
    """Whether what is remembered is still true, and its packed bytes still there."""
    artifacts = [package.artifact for package in (*known.packages, *known.others)]
    if known.unowned is not None and known.unowned.archive is not None:
        artifacts.append(known.unowned.archive)
    return all(_is_kept(artifact, cache) for artifact in artifacts) and still(known.libraries)


def _renamed(package: SystemPackage, sidecar: Sidecar) -> SystemPackage:
    """The same package, its packed file beside the lock that is written now."""
    return msgspec.structs.replace(package, artifact=_beside(package.artifact, sidecar))


def _renamed_files(files: UnownedFiles | None, sidecar: Sidecar) -> UnownedFiles | None:
    if files is None or files.archive is None:
        return files
    return msgspec.structs.replace(files, archive=_beside(files.archive, sidecar))


def _beside(artifact: Artifact, sidecar: Sidecar) -> Artifact:
    if artifact.path is None:
        return artifact
    path = sidecar.relative(artifact.sha256, artifact.filename)
    return msgspec.structs.replace(artifact, path=path)


def _is_kept(artifact: Artifact, cache: Cache) -> bool:
    return artifact.path is None or cache.find(artifact.sha256, artifact.size) is not None


def _key(snapshot: Snapshot, seen: Survey, base: Base, means: MachineMeans) -> str:
    """A digest that changes when the answer could: trees, unowned files, the system's database,
    apt's lists, programs that are asked for."""
    asked: list[object] = [_NOTE_VERSION, means.pack, means.http is None, means.library_path]
    asked.append(means.scope)
    asked.append(None if means.base is None else means.base.image.image_id)
    asked += [means.snapshot_archive, *((one.path, one.real) for one in base.programs)]
    digest = hashlib.sha256(repr(asked).encode("utf-8", "surrogateescape"))
    for item in [*seen.seen, *seen.shadowed]:
        digest.update(f"{item.dist.site}/{item.dist.info} {item.tree}\n".encode())
    for site in seen.sites:
        for entry in site.loose:
            digest.update(f"{site.path}/{entry.path} {entry.sha256} {entry.link}\n".encode())
    for source in snapshot.sources:
        digest.update(f"{source.root} {digest_of(source)}\n".encode())
    for record in snapshot.conda.packages.values() if snapshot.conda else ():
        digest.update(f"{record.file} {record.tree}\n".encode())
    for entry in snapshot.conda.loose if snapshot.conda else ():
        digest.update(f"{entry.path} {entry.sha256} {entry.link}\n".encode())
    digest.update(msgspec.json.encode(snapshot.interpreter))
    for place in _watched(snapshot.interpreter, base.root):
        digest.update(f"{place} {stamp(place)}\n".encode())
    return digest.hexdigest()
