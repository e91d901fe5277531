"""The system layer: which packages, libraries and programs of the machine are needed.

A package of dpkg is proved or packed; of rpm and apk it is identified; what nobody owns is packed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from envfreeze.errors import ArtifactError, UsageError
from envfreeze.model.lock import (
    NamedPackage,
    Need,
    Scope,
    SystemPackage,
    UnownedFiles,
    Unproved,
)
from envfreeze.model.scope import not_kept
from envfreeze.model.snapshot import Dist, Finding, LooseFile, Snapshot, SourceFile
from envfreeze.model.survey import Survey
from envfreeze.progress import Progress
from envfreeze.resolve import condaobjects, debs, elf, interpreter, unowned
from envfreeze.resolve.apk import Apk
from envfreeze.resolve.based import BaseFiles
from envfreeze.resolve.databases import Database
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.frozen import stamp
from envfreeze.resolve.http import Http
from envfreeze.resolve.pack import Layout, layout
from envfreeze.resolve.packages import Installed, Package
from envfreeze.resolve.programs import Program
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.rpm import Rpm
from envfreeze.store import Cache, Sidecar, kept

SNAPSHOT_VARIABLE = "ENVFREEZE_SNAPSHOT_ARCHIVE"
"""Names the base URL of an archive of Debian packages that keeps every version."""

T = TypeVar("T", bound=Installed)
_Owners = Callable[[Iterable[str]], dict[str, list[T]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineMeans:
    """What locking the machine may use."""

    cache: Cache
    sidecar: Sidecar
    progress: Progress
    http: Http | None
    pack: bool
    needs: tuple[str, ...] = ()
    """Programs that packages call, by name or absolute path."""
    path: str | None = None
    """PATH of the target, in which :attr:`needs` are looked for; None: that of this process."""
    scope: Scope = "needed"
    """Which packages of dpkg are proved or packed."""
    library_path: str = ""
    """LD_LIBRARY_PATH of the target."""
    root: Root = field(default_factory=Root)
    """The machine; another directory replays a recorded one."""
    database: Database | None = None
    """That of :attr:`root`, where others ask it, too."""
    base: BaseFiles | None = None
    """The image that it stands on: what that has is not kept."""
    snapshot_archive: str | None = field(default_factory=lambda: os.environ.get(SNAPSHOT_VARIABLE))
    """As :attr:`envfreeze.resolve.debs.Means.snapshot_archive`."""


class System(msgspec.Struct, kw_only=True):
    """What is remembered of the system layer between runs."""

    packages: list[SystemPackage] = []
    others: list[SystemPackage] = []
    held: list[NamedPackage] = []
    named: list[NamedPackage] = []
    needs: list[Need] = []
    unowned: UnownedFiles | None = None
    library_path: list[str] = []
    unproved: list[Unproved] = []
    findings: list[Finding] = []
    libraries: dict[str, str] = {}
    """The system's files that were looked at, and their stamps: the answer holds while they do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the system layer is made from: read anew each time."""

    root: Root
    database: Dpkg | Rpm | Apk | None
    problems: list[str]
    own: list[Path]
    """The interpreter's own files, as :func:`interpreter.interpreter_files` has them."""
    origin: interpreter.Origin
    programs: list[Program]


class Locker:
    """Makes the system layer."""

    def __init__(
        self,
        snapshot: Snapshot,
        seen: Survey,
        base: Base,
        means: MachineMeans,
        http: debs.Http | None,
    ) -> None:
        self._facts = snapshot.interpreter
        self._base = base
        self._means = means
        self._http = http
        self._dists = dict(_objects(snapshot, seen, base.root))
        self._own = [str(path) for path in base.own]

    def system(self) -> System:
        base = self._base
        _check_scope(self._means.scope, base)
        files = [*self._own, *sorted(self._dists)]
        scan = self._scan(files, self._facts.base_executable)
        outside = [program for program in base.programs if program.real not in set(files)]
        looked_at = {*scan.system, *(program.real for program in outside)}
        made = System(
            libraries=self._stamps(looked_at),
            library_path=_used(self._means.library_path, scan.found),
        )
        made.findings = [_missing(n, users, self._dists) for n, users in scan.missing.items()]
        if base.database is None:
            made.needs = [Need(name=program.name, path=program.path) for program in outside]
            if looked_at and not self._in_base(looked_at):
                made.findings.append(_no_database(len(looked_at), base.problems))
            return made
        if isinstance(base.database, Dpkg):
            debian = self._attribute(made, scan, outside, base.database.owners)
            self._prove(made, base.database, debian)
        else:
            others = self._attribute(made, scan, outside, base.database.owners)
            self._name(made, base.database, others, in_base=self._in_base(looked_at))
        return made

    def _in_base(self, paths: Iterable[str]) -> bool:
        """Whether the image below has all of these files."""
        return self._means.base is not None and self._means.base.has_all(paths)

    def _scan(self, files: Iterable[str], executable: str) -> elf.LibraryScan:
        return elf.libraries(
            files,
            root=self._base.root,
            executable=executable,
            library_path=self._means.library_path,
        )

    def _stamps(self, paths: Iterable[str]) -> dict[str, str]:
        places = sorted(self._base.root.host(path) for path in paths)
        return {place: stamp(place) for place in places}

    def _attribute(
        self, made: System, scan: elf.LibraryScan, outside: list[Program], owners: _Owners[T]
    ) -> dict[str, T]:
        """The packages that own what is needed, by key; what nobody owns is packed."""
        real = {program.real for program in outside}
        owned = owners(sorted(scan.system | real))
        loose = [path for path in scan.found if self._base.root.real(path) not in owned]
        for program in outside:
            if program.real not in owned:
                loose.append(program.path)
                loose += self._libraries_of(program, made, owned, owners)
                made.findings.append(_unowned_program(program))
            made.needs.append(_need(program, owned.get(program.real, [])))
        configured = unowned.configuration(self._base.root, loose) if loose else set()
        loose += configured - owners(sorted(configured)).keys()
        self._pack(made, loose)
        return {owner.key: owner for some in owned.values() for owner in some}

    def _libraries_of(
        self, program: Program, made: System, owned: dict[str, list[T]], owners: _Owners[T]
    ) -> list[str]:
        """The libraries of an unowned program that nobody owns; who owns the others is added."""
        scan = self._scan([program.real], program.real)
        made.findings += [_missing(n, users, {}) for n, users in scan.missing.items()]
        made.libraries |= self._stamps(scan.system)
        found = owners(sorted(scan.system))
        owned |= found
        return [path for path in scan.found if self._base.root.real(path) not in found]

    def _pack(self, made: System, paths: Iterable[str]) -> None:
        """Pack what nobody owns; what is not packed is a finding."""
        files: list[LooseFile] = []
        for path in sorted(set(paths)):
            files += self._gather(path, made)
        files = sorted({file.path: file for file in files}.values(), key=lambda f: f.path)
        if not files:
            return
        archive = None
        own = {file.path for file in files if self._in_base([f"/{file.path}"])}
        rest = [file for file in files if file.path not in own]
        if rest and self._means.pack:
            sha256 = unowned.pack(self._base.root, rest, self._means.cache)
            archive = kept(self._means.cache, self._means.sidecar, sha256, "unowned.tar.gz")
        else:
            plain = [file for file in rest if file.link is None]
            made.findings += [_unowned(f"/{file.path}", "it is not packed") for file in plain]
        made.libraries |= self._stamps(f"/{file.path}" for file in files)
        entries = [
            msgspec.structs.replace(entry, in_base=entry.path in own)
            for entry in unowned.entries(files)
        ]
        made.unowned = UnownedFiles(archive=archive, files=entries)

    def _gather(self, path: str, made: System) -> list[LooseFile]:
        try:
            return unowned.gather(self._base.root, [path])
        except ArtifactError as error:
            made.findings.append(_unowned(path, str(error)))
            return []

    def _prove(self, made: System, dpkg: Dpkg, roots: Mapping[str, debs.Installed]) -> None:
        roots = {**roots, **{package.key: package for package in self._base.origin.packages}}
        needed = dpkg.closure([*roots.values(), *debs.companions(dpkg)]) if roots else []
        keys = {package.key for package in needed}
        others = [package for package in self._others(dpkg) if package.key not in keys]
        if not needed and not others:
            return
        base = self._means.base
        if base is not None:
            held = {package.key for package in needed if base.has_package(dpkg, package)}
            made.held = [_held(package) for package in needed if package.key in held]
            needed = [package for package in needed if package.key not in held]
            others = [package for package in others if not base.has_package(dpkg, package)]
        means = debs.Means(
            cache=self._means.cache,
            sidecar=self._means.sidecar,
            http=self._http,
            pack=self._means.pack,
            snapshot_archive=self._means.snapshot_archive,
            # Not the watched one: that it is silent changes nothing, so it may be remembered.
            snapshot_http=self._means.http,
        )
        proofs = debs.prove(dpkg, needed, means)
        made.packages, made.unproved = proofs.packages, proofs.unproved
        made.findings += proofs.findings
        if others:
            more = debs.prove(dpkg, others, means, beside=needed)
            made.others = more.packages
            made.findings += [*more.findings, *map(not_kept, more.unproved)]

    def _others(self, dpkg: Dpkg) -> list[debs.Installed]:
        """What is kept besides, and what has to be there for a root directory to be made."""
        scope = self._means.scope
        if scope == "needed":
            return []
        if scope == "all":
            return [dpkg.packages[key] for key in sorted(dpkg.packages)]
        asked = dpkg.manual() if scope == "manual" else None
        found = dpkg.closure(dpkg.packages[key] for key in sorted(asked or ()))
        return list({package.key: package for package in (*dpkg.essential(), *found)}.values())

    def _name(
        self, made: System, database: Rpm | Apk, roots: Mapping[str, Package], *, in_base: bool
    ) -> None:
        """Name what is needed of a system whose packages are not kept."""
        if not roots:
            return
        every = database.packages.values()
        companions = [package for package in every if package.name in debs.COMPANIONS]
        needed = database.closure([*roots.values(), *companions])
        made.named = [_named(package) for package in needed]
        if not in_base:
            made.findings.append(_named_only(database.kind, len(needed)))


def _check_scope(scope: Scope, base: Base) -> None:
    """:raises UsageError: nobody can tell these packages here."""
    database = base.database
    if scope == "needed":
        return
    if not isinstance(database, Dpkg):
        raise UsageError(
            f"--system {scope} keeps packages of dpkg, and there is no database of dpkg here",
            hint="Leave it out: packages of other systems are named, not kept.",
        )
    if scope == "manual" and database.manual() is None:
        raise UsageError(
            "--system manual: without apt nobody wrote down here which packages were asked for",
            hint="Use --system all.",
        )


def _used(library_path: str, found: Iterable[str]) -> list[str]:
    """The entries of LD_LIBRARY_PATH that libraries were found by; ``$`` has a meaning there."""
    directories = {path.rpartition("/")[0].rstrip("/") for path in found}
    entries = [entry.rstrip("/") for entry in re.split("[:;]", library_path)]
    used = [e for e in entries if e in directories and "$" not in e and e.isprintable()]
    return list(dict.fromkeys(used))


def libraries(snapshot: Snapshot, seen: Survey) -> elf.LibraryScan:
    """The shared libraries that the interpreter and the environment load on this machine."""
    facts = snapshot.interpreter
    files = [str(path) for path in interpreter.interpreter_files(facts)]
    files += sorted(dict(_objects(snapshot, seen, Root())))
    return elf.libraries(files, executable=facts.base_executable)


def _objects(snapshot: Snapshot, seen: Survey, home: Root) -> Iterator[tuple[str, str]]:
    """Files of the environment that may be ELF, libraries by name, programs by mode; and whose
    each is: the distribution, or nobody's."""
    facts = snapshot.interpreter
    layouts = {site.path: layout(site, facts, root=home) for site in snapshot.sites}
    for item in [*seen.seen, *seen.shadowed]:
        for path in _dist_objects(item.dist, layouts[item.dist.site]):
            yield path, item.dist.name
    trees: list[tuple[str, Sequence[LooseFile | SourceFile]]] = [
        *((site.path, site.loose) for site in seen.sites),
        *((source.root, source.files) for source in snapshot.sources),
    ]
    for root, files in trees:
        for entry in files:
            if entry.link is None and (".so" in entry.path or entry.executable):
                yield f"{root}/{entry.path}", ""
    if snapshot.conda is not None:
        yield from condaobjects.objects(snapshot.conda, home)


def _dist_objects(dist: Dist, place: Layout) -> Iterator[str]:
    for row in dist.rows or ():
        if row.sha256 is not None and (".so" in row.path or row.executable):
            yield place.full(row, dist.name)


def _shown(users: list[str]) -> str:
    names = [user.rpartition("/")[2] for user in users[:3]]
    return ", ".join(names) + (f" and {len(users) - 3} more" if len(users) > 3 else "")


def _missing(name: str, users: list[str], dists: Mapping[str, str]) -> Finding:
    groups: dict[str, list[str]] = {}
    for user in users:
        groups.setdefault(dists.get(user, ""), []).append(user)
    who = [f"{dist} ({_shown(files)})" if dist else _shown(files) for dist, files in groups.items()]
    text = ", ".join(who[:3]) + (f" and {len(who) - 3} more" if len(who) > 3 else "")
    return Finding(
        kind="missing-library",
        place=name,
        detail=f"{text} {'needs' if len(users) == 1 else 'need'} {name}: nobody provides it",
        advice="what needs it does not load here either; install it if it should",
    )


def _unowned(path: str, why: str) -> Finding:
    return Finding(
        kind="unowned-library",
        place=path,
        detail=f"it is needed, no system package owns it, and it is not in the lock: {why}",
        advice="install it from a package, or put it into the image with your own template",
    )


def _unowned_program(program: Program) -> Finding:
    return Finding(
        kind="unowned-program",
        place=program.path,
        detail="no system package owns it: it and its libraries are what is kept of it",
        advice="other files that it reads are not looked for; a package would bring them",
    )


def _need(program: Program, owners: Sequence[Installed]) -> Need:
    package = owners[0].name if owners else None
    return Need(name=program.name, path=program.path, package=package)


def _named(package: Package) -> NamedPackage:
    return NamedPackage(
        name=package.name,
        version=package.version,
        arch=package.arch,
        identity=package.identity,
        source=package.source,
        origin=package.origin,
        licence=package.licence,
    )


def _held(package: debs.Installed) -> NamedPackage:
    return NamedPackage(name=package.name, version=package.version, arch=package.arch)


def _named_only(kind: str, count: int) -> Finding:
    return Finding(
        kind="no-system-packages",
        place=kind,
        detail=f"{count} packages that it needs are identified by {kind}'s database, not kept",
        advice="a rebuild needs a base image that has them",
    )


def _no_database(count: int, problems: list[str]) -> Finding:
    why = "; ".join(problems) or "no database of dpkg, rpm or apk here"
    return Finding(
        kind="no-system-packages",
        place="/var/lib/dpkg",
        detail=f"{why}: {count} system libraries could not be attributed",
        advice="a rebuild needs a base image that has them",
    )
