"""The machine's part of a lock: the interpreter and the system packages that it needs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from envfreeze.errors import IndexUnavailableError
from envfreeze.model.host import Host
from envfreeze.model.lock import Artifact, InterpreterLayer, SystemLayer, SystemPackage, Unproved
from envfreeze.model.snapshot import Dist, Finding, Interpreter, LooseFile, Snapshot, SourceFile
from envfreeze.model.survey import Survey, digest_of
from envfreeze.progress import Progress
from envfreeze.resolve import below, debs, elf, interpreter
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.frozen import stamp, still
from envfreeze.resolve.http import Http
from envfreeze.resolve.pack import Layout, layout
from envfreeze.resolve.provenance import Place, describe
from envfreeze.resolve.rootfs import Root
from envfreeze.store import BlobWriter, Cache, Sidecar, kept

_NOTE = "system"
_NOTE_VERSION = 2
DPKG_STATUS = "/var/lib/dpkg/status"
APT_LISTS = "/var/lib/apt/lists"


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineMeans:
    """What locking the machine may use."""

    cache: Cache
    sidecar: Sidecar
    progress: Progress
    http: Http | None
    pack: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLayers:
    """The layers below the packages, and what was noticed on the way."""

    interpreter: InterpreterLayer
    system: SystemLayer
    host: Host | None = None
    findings: list[Finding] = field(default_factory=list)
    watched: dict[str, str] = field(default_factory=dict)
    """The files that this was read from, and their stamps."""


class _System(msgspec.Struct, kw_only=True):
    """What is remembered of the system layer between runs."""

    packages: list[SystemPackage] = []
    unproved: list[Unproved] = []
    findings: list[Finding] = []
    libraries: dict[str, str] = {}
    """The system's files that were looked at, and their stamps: the answer holds while they do."""


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
    """Lock the interpreter and the system packages whose libraries the environment loads."""
    facts = snapshot.interpreter
    dpkg = Dpkg.read(Root())
    origin = interpreter.origin(facts, dpkg)
    with means.progress.task("interpreter"):
        own = _interpreter(facts, origin, means)
        place = Place(root=Root(), dpkg=dpkg, os_release=snapshot.system.os_release)
        own = describe(own, origin, place, means.cache)
    with means.progress.task("system"):
        system = _remembered_system(snapshot, seen, (dpkg, origin), means)
    return MachineLayers(
        interpreter=own,
        system=SystemLayer(
            kernel=snapshot.system.kernel,
            machine=snapshot.system.machine,
            os_release=dict(sorted(snapshot.system.os_release.items())),
            packages=system.packages,
            unproved=system.unproved,
        ),
        host=below.described(snapshot, lambda paths: _owned(paths, dpkg)),
        findings=system.findings,
        watched=system.libraries
        | {path: stamp(path) for path in (*_watched(facts), *interpreter.watched(facts))},
    )


def _owned(paths: Sequence[str], dpkg: Dpkg | None) -> dict[str, str]:
    """The system packages that own what lies at these paths, links resolved."""
    if dpkg is None:
        return {}
    real = {path: dpkg.root.real(path) for path in paths}
    owners = dpkg.owners(sorted(set(real.values())))
    return {
        path: f"dpkg {owners[place][0].name}" for path, place in real.items() if place in owners
    }


def _watched(facts: Interpreter) -> tuple[str, ...]:
    return (DPKG_STATUS, APT_LISTS, facts.base_executable)


def _interpreter(
    facts: Interpreter, origin: interpreter.Origin, means: MachineMeans
) -> InterpreterLayer:
    if origin.kind == "system":
        return InterpreterLayer(facts=facts, origin="system")
    if not means.pack:
        return InterpreterLayer(facts=facts, origin="unpacked")
    sha256, _ = interpreter.pack(facts, means.cache)
    archive = kept(means.cache, means.sidecar, sha256, f"python-{facts.version}.tar.gz")
    return InterpreterLayer(facts=facts, origin="packed", archive=archive)


def _remembered_system(
    snapshot: Snapshot,
    seen: Survey,
    found: tuple[Dpkg | None, interpreter.Origin],
    means: MachineMeans,
) -> _System:
    """The system layer, from an earlier run if neither environment nor system has changed."""
    key = _key(snapshot, seen, means)
    data = means.cache.read_note(_NOTE, key)
    if data is not None:
        try:
            known = msgspec.json.decode(data, type=_System)
        except msgspec.MsgspecError:
            known = None
        if known is not None and _holds(known, means.cache):
            return _System(
                packages=[_renamed(package, means.sidecar) for package in known.packages],
                unproved=known.unproved,
                findings=known.findings,
                libraries=known.libraries,
            )
    http = None if means.http is None else _Watched(means.http)
    system = _system(snapshot, seen, found, means, http)
    if http is None or not http.failed:
        means.cache.write_note(_NOTE, key, msgspec.json.encode(system))
    return system


def _holds(known: _System, cache: Cache) -> bool:
    """Whether what is remembered is still true, and its packed bytes still there."""
    kept = all(_is_kept(package.artifact, cache) for package in known.packages)
    return kept and still(known.libraries)


def _renamed(package: SystemPackage, sidecar: Sidecar) -> SystemPackage:
    """The same package, its packed file beside the lock that is written now."""
    artifact = package.artifact
    if artifact.path is None:
        return package
    path = sidecar.relative(artifact.sha256, artifact.filename)
    return msgspec.structs.replace(package, artifact=msgspec.structs.replace(artifact, path=path))


def _is_kept(artifact: Artifact, cache: Cache) -> bool:
    return artifact.path is None or cache.find(artifact.sha256, artifact.size) is not None


def _key(snapshot: Snapshot, seen: Survey, means: MachineMeans) -> str:
    """A digest that changes when the answer could: trees, unowned files, dpkg, apt's lists."""
    offline = means.http is None
    digest = hashlib.sha256(f"{_NOTE_VERSION} {means.pack} {offline}".encode())
    for item in [*seen.seen, *seen.shadowed]:
        digest.update(f"{item.dist.site}/{item.dist.info} {item.tree}\n".encode())
    for site in seen.sites:
        for entry in site.loose:
            digest.update(f"{site.path}/{entry.path} {entry.sha256} {entry.link}\n".encode())
    for source in snapshot.sources:
        digest.update(f"{source.root} {digest_of(source)}\n".encode())
    digest.update(msgspec.json.encode(snapshot.interpreter))
    for place in _watched(snapshot.interpreter):
        digest.update(f"{place} {stamp(place)}\n".encode())
    return digest.hexdigest()


def _system(
    snapshot: Snapshot,
    seen: Survey,
    found: tuple[Dpkg | None, interpreter.Origin],
    means: MachineMeans,
    http: _Watched | None,
) -> _System:
    dpkg, origin = found
    scan = libraries(snapshot, seen)
    findings = [_missing(name, users) for name, users in scan.missing.items()]
    stamps = {path: stamp(path) for path in sorted(scan.system)}
    if dpkg is None:
        if scan.system:
            findings.append(_no_database(len(scan.system)))
        return _System(findings=findings, libraries=stamps)
    owners = dpkg.owners(sorted(scan.system))
    findings += [_unowned(path) for path in sorted(scan.system) if path not in owners]
    roots = {owner.key: owner for some in owners.values() for owner in some}
    roots |= {package.key: package for package in origin.packages}
    if not roots:
        return _System(findings=findings, libraries=stamps)
    needed = dpkg.closure([*roots.values(), *debs.companions(dpkg)])
    proofs = debs.prove(
        dpkg,
        needed,
        debs.Means(cache=means.cache, sidecar=means.sidecar, http=http, pack=means.pack),
    )
    return _System(
        packages=proofs.packages,
        unproved=proofs.unproved,
        findings=[*findings, *proofs.findings],
        libraries=stamps,
    )


def libraries(snapshot: Snapshot, seen: Survey) -> elf.LibraryScan:
    """The shared libraries that the interpreter and the environment load on this machine."""
    facts = snapshot.interpreter
    files = [str(path) for path in interpreter.interpreter_files(facts)]
    files += sorted(_objects(snapshot, seen))
    return elf.libraries(files, executable=facts.base_executable)


def _objects(snapshot: Snapshot, seen: Survey) -> Iterator[str]:
    """Files of the environment that may be ELF: libraries by name, programs by mode."""
    layouts = {site.path: layout(site, snapshot.interpreter) for site in snapshot.sites}
    for item in [*seen.seen, *seen.shadowed]:
        yield from _dist_objects(item.dist, layouts[item.dist.site])
    trees: list[tuple[str, Sequence[LooseFile | SourceFile]]] = [
        *((site.path, site.loose) for site in seen.sites),
        *((source.root, source.files) for source in snapshot.sources),
    ]
    for root, files in trees:
        for entry in files:
            if entry.link is None and (".so" in entry.path or entry.executable):
                yield f"{root}/{entry.path}"


def _dist_objects(dist: Dist, place: Layout) -> Iterator[str]:
    for row in dist.rows or ():
        if row.sha256 is not None and (".so" in row.path or row.executable):
            yield str(place.full(row, dist.name))


def _shown(users: list[str]) -> str:
    names = [user.rpartition("/")[2] for user in users[:3]]
    return ", ".join(names) + (f" and {len(users) - 3} more" if len(users) > 3 else "")


def _missing(name: str, users: list[str]) -> Finding:
    return Finding(
        kind="missing-library",
        place=name,
        detail=f"needed by {_shown(users)}: nobody provides it on this machine",
        advice="what needs it does not load here either; install it if it should",
    )


def _unowned(path: str) -> Finding:
    return Finding(
        kind="unowned-library",
        place=path,
        detail="the environment loads it, and no system package owns it: it is not in the lock",
        advice="install it from a package, or put it into the image with your own template",
    )


def _no_database(count: int) -> Finding:
    return Finding(
        kind="no-system-packages",
        place="/var/lib/dpkg",
        detail=f"no dpkg database here: {count} system libraries could not be attributed",
        advice="a rebuild needs a base image that has them",
    )
