"""Make an existing venv equal to a lock: remove, replace and add only what differs.

:func:`plan` is pure: a lock and what a probe saw of the venv give what has to be done.
:func:`prepare` places everything new in a directory of its own inside the venv, so that a bad
wheel, a full disk or an interrupt is met before anything is removed; :meth:`Prepared.commit`
removes what has to go and renames the new files into their places. A killed one leaves its
directory behind, which says so; what it had got to is seen by the next probe, so the same
command goes on from there.

Where the rules differ from those of ``pip-sync`` (pip-tools, ``piptools.sync``): pip-sync never
touches pip, setuptools, wheel, distribute, pip-tools, pip-review and what these need
(``PACKAGES_TO_IGNORE``), since a requirements file seldom lists them. A lock holds *all* that an
environment had, pip as well, so here they are synced like any other: a pip that the lock does
not hold goes, and one of another version is replaced. Nothing breaks by it, since no pip is
asked to do the work. pip-sync compares versions; here files count, too: the same version with
one edited file is replaced, and files that no distribution owns are brought back and removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from envfreeze.build import loosefiles, place, sinks, streams, venv
from envfreeze.build.homes import Homes, homes
from envfreeze.errors import DiskError, LockError, TargetError, UsageError, printable
from envfreeze.model.identity import interpreter_facts, is_bytecode, versioned_wrapper
from envfreeze.model.lock import Artifact, Lock, LooseEntry, Package, SourceTree
from envfreeze.model.snapshot import Dist, Interpreter, LooseFile, Snapshot, Source
from envfreeze.model.survey import Seen, Survey, digest_of, survey
from envfreeze.probe import metadata, sitepath
from envfreeze.probe.pointers import is_pointer
from envfreeze.progress import Progress
from envfreeze.store import disk_errors

WORK = ".envfreeze-sync"
"""The directory in a venv that stands there while it is synced; left by a killed sync."""

_OWN = re.compile(r"pyvenv\.cfg|bin/(python|pypy)[0-9.]*t?")
_OWN_SCRIPTS = re.compile(r"bin/[Aa]ctivate(\.\w+|_this\.py)?")
"""The venv's own files, below its prefix: whatever a RECORD says, they are not removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """A package whose installed form differs from the locked one."""

    package: Package
    dist: Dist
    why: str
    """One phrase for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPlan:
    """What makes a venv equal to a lock."""

    add: tuple[Package, ...] = ()
    remove: tuple[Dist, ...] = ()
    replace: tuple[Replacement, ...] = ()
    files_add: tuple[str, ...] = ()
    """Unowned files to place, absolute."""
    files_remove: tuple[str, ...] = ()
    """Unowned files to remove, absolute; one that is to be replaced is in both."""
    sites: tuple[str, ...] = ()
    """Lines of the file that names further site directories, where it has to be written."""
    sources: tuple[SourceTree, ...] = ()
    """Source trees to place; what lies there of them is in :attr:`sources_remove`."""
    sources_remove: tuple[str, ...] = ()
    """Files of source trees to remove, absolute."""
    source_places: Mapping[str, str] = field(default_factory=dict)
    """Key of each source tree to the directory that it has, or will have."""
    keep: tuple[Dist, ...] = ()
    """Equal already."""

    @property
    def empty(self) -> bool:
        """Nothing differs."""
        return not (self.add or self.files_add or self.sites or self.sources or self.removes)

    @property
    def removes(self) -> bool:
        """Something that is there now will not be there afterwards."""
        return bool(self.remove or self.replace or self.files_remove or self.sources_remove)

    @property
    def packages(self) -> list[Package]:
        """What has to be placed."""
        return [*self.add, *(item.package for item in self.replace)]

    @property
    def gone(self) -> list[Dist]:
        """What has to be removed, be it replaced or not."""
        return [*self.remove, *(item.dist for item in self.replace)]


def was_interrupted(into: Path) -> bool:
    """Whether a killed sync left its work directory."""
    return (into / WORK / "journal.json").exists()


def is_venv(into: Path) -> bool:
    """Whether there is a venv at *into*, and not one that a killed build left."""
    return (into / "pyvenv.cfg").is_file() and not (into / venv.MARK).exists()


# --- the plan ------------------------------------------------------------------------------


def plan(lock: Lock, snapshot: Snapshot) -> SyncPlan:
    """What differs between *lock* and the venv that was seen as *snapshot*.

    :raises TargetError: it has another interpreter: no file of it can make that equal.
    :raises UsageError: it also sees packages outside itself, which no sync may touch.
    """
    facts = snapshot.interpreter
    _check_interpreter(lock.machine.interpreter.facts, facts)
    if facts.system_site:
        raise UsageError(
            f"{facts.prefix} also sees the packages of its base interpreter",
            hint="Set include-system-site-packages = false in its pyvenv.cfg, or name a "
            "directory that does not exist yet.",
        )
    seen = survey(snapshot)
    trees = _plan_sources(lock, snapshot)
    where = _homes(lock, facts)
    slots = {schemes.site for schemes in where.apart.values()}
    wanted = {
        (package.name, _slot(where.of(package).site, slots)): package
        for package in venv.locked(lock)
    }
    inside = [item for item in seen.shadowed if _is_below(item.dist.site, facts.prefix)]
    owners = Counter(
        (item.dist.site, row.path)
        for item in [*seen.seen, *inside]
        for row in item.dist.rows or ()
        if row.scheme == "scripts"
    )
    changed, removed, keep = [], [], []
    for item in [*seen.seen, *inside]:
        package = wanted.pop((item.name, _slot(item.dist.site, slots)), None)
        if package is None:
            removed.append(item.dist)
        elif why := _differs(item, package, owners) or trees.moved(package):
            changed.append(Replacement(package=package, dist=item.dist, why=why))
        else:
            keep.append(item.dist)
    files = _wanted_files(lock, facts, where)
    stale, kept_stale = _stale(seen, files)
    present = _present(snapshot, seen, kept_stale)
    others = [site.path for site in snapshot.sites if site.kind == "site"][1:]
    named = others == [schemes.site for schemes in where.apart.values()]
    gone = [path for path, entry in present.items() if files.get(path) != entry]
    if not named and where.pth is None:
        gone.append(f"{facts.purelib}/{sitepath.APART}")
    return SyncPlan(
        add=tuple(wanted.values()),
        remove=(*removed, *stale),
        replace=tuple(changed),
        files_add=tuple(
            sorted(
                path
                for path in files
                if path not in present
                or present[path] != files[path]
                or (trees.new and is_pointer(files[path].path))
            )
        ),
        files_remove=tuple(sorted(gone)),
        sites=() if named else where.lines,
        sources=tuple(trees.place),
        sources_remove=tuple(sorted(trees.remove)),
        source_places=trees.places,
        keep=(*keep, *kept_stale),
    )


@dataclass(slots=True)
class _Trees:
    """What becomes of the source trees."""

    places: dict[str, str] = field(default_factory=dict)
    place: list[SourceTree] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    new: list[SourceTree] = field(default_factory=list)
    """Those that come to another directory than the one that pointers name now."""

    def moved(self, package: Package) -> str:
        """Why *package* has to be placed anew; empty: it has not."""
        moves = package.facts.editable and any(package.name in tree.dists for tree in self.new)
        return "its source tree moves" if moves else ""


def _plan_sources(lock: Lock, snapshot: Snapshot) -> _Trees:
    """A tree that has the locked files is used wherever it lies. Another goes, and comes, below
    the venv alone: nobody's working tree is touched."""
    prefix = snapshot.interpreter.prefix
    found = _Trees()
    here = {source.key: source for source in snapshot.sources if source.problem is None}
    for tree in lock.machine.sources:
        source = here.pop(tree.key, None)
        place_ = f"{prefix}/src/{tree.key}"
        if source is not None and digest_of(source) == tree.digest:
            found.places[tree.key] = source.root
            continue
        found.places[tree.key] = place_
        if tree.archive is None:
            continue
        found.place.append(tree)
        if source is not None and source.root == place_:
            found.remove += _files_of(source)
        else:
            found.new.append(tree)
    for source in here.values():
        if _is_below(source.root, f"{prefix}/src"):
            found.remove += _files_of(source)
    return found


def _files_of(source: Source) -> list[str]:
    if source.repository is not None and not source.repository.subdirectory:
        raise UsageError(
            f"{source.root} is a git repository, and not the tree that the lock has",
            hint="Move it away, or name a directory that does not exist yet.",
        )
    return [f"{source.root}/{file.path}" for file in source.files]


def _check_interpreter(wanted: Interpreter, here: Interpreter) -> None:
    one, two = interpreter_facts(wanted), interpreter_facts(here)
    if one == two:
        return
    differing = ", ".join(
        f"{key} {two[key]}, not {one[key]}" for key in one if one[key] != two[key]
    )
    raise TargetError(
        f"{here.prefix} has {here.implementation} {here.version}, and the lock is of "
        f"{wanted.implementation} {wanted.version} ({differing})",
        hint="Name a directory that does not exist yet: a venv cannot change its interpreter.",
    )


def _differs(item: Seen, package: Package, owners: Mapping[tuple[str, str], int]) -> str:
    """Why *item* is not *package* as the lock has it; empty: it is.

    Who installed it and whether it was asked for do not count, as they do not in the id.
    """
    facts, dist = package.facts, item.dist
    version = facts.version or package.version or ""
    if dist.version != version:
        return f"{dist.version} -> {version}"
    if item.tree != facts.tree:
        files = [key.partition("/")[2] for key in (*item.edited, *item.missing)]
        return f"{version}: {_some(files)}" if files else f"{version}: other files"
    if set(item.yields) != set(facts.yields):
        return f"{version}: files that it shares with another distribution"
    if dist.info != facts.info:
        return f"{version}: its metadata is called {dist.info}"
    if dist.direct_url != facts.direct_url:
        return f"{version}: installed from elsewhere"
    for row in dist.rows or ():
        script = row.path in dist.wrappers or versioned_wrapper(row.path, dist.wrappers)
        if row.scheme != "scripts" or not script:
            continue
        if row.sha256 is None:
            return f"{version}: its script {row.path} is missing"
        if row.claim and owners[dist.site, row.path] == 1:
            return f"{version}: its script {row.path} was edited"
    return ""


def _some(files: list[str]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{files[0]} differs{more}" if not more else f"{files[0]}{more} differ"


def _homes(lock: Lock, facts: Interpreter) -> Homes:
    main = venv.schemes(Path(facts.prefix), facts.executable, facts.version)
    return homes(lock, facts.prefix, replace(main, site=facts.purelib))


def _slot(site: str, slots: Collection[str]) -> str:
    """Which of the venv's site directories *site* is; empty: the first."""
    return site if site in slots else ""


def _wanted_files(lock: Lock, facts: Interpreter, where: Homes) -> dict[str, LooseEntry]:
    """The unowned files of all captured site directories by the path that each will have."""
    found = {}
    for site in lock.machine.loose:
        for part, schemes in where.parts(site):
            place_ = facts.scripts if site.scheme == "scripts" else schemes.site
            for entry in part.files:
                plain = LooseEntry(
                    path=entry.path,
                    sha256=entry.sha256,
                    link=entry.link,
                    executable=entry.executable,
                )
                found[f"{place_}/{entry.path}"] = plain
    return found


def _stale(seen: Survey, files: Mapping[str, LooseEntry]) -> tuple[list[Dist], list[Dist]]:
    """``(to remove, to keep)`` of the metadata directories that are seen and lead nowhere.

    Their files came back as unowned ones where the lock has them; else all that they own goes.
    """
    remove: list[Dist] = []
    keep: list[Dist] = []
    sites = {site.path for site in seen.sites}
    for dist in seen.loose_dists:
        if dist.site not in sites:
            continue
        if dist.rows is None:
            # Its files are unowned ones; an empty directory is all that may be left of it.
            info = f"{dist.site}/{dist.info}"
            if not any(path == info or _is_below(path, info) for path in files):
                remove.append(dist)
            continue
        own = seen.disowned.get((dist.site, dist.info), {})
        same = bool(own) and all(files.get(path) == _entry(loose) for path, loose in own.items())
        (keep if same else remove).append(dist)
    return remove, keep


def _present(snapshot: Snapshot, seen: Survey, kept_stale: list[Dist]) -> dict[str, LooseEntry]:
    """The unowned files that are there, by absolute path."""
    found = {}
    for site in snapshot.sites:
        if site.kind in {"site", "scripts"} and _is_below(site.path, snapshot.interpreter.prefix):
            for loose in site.loose:
                found[f"{site.path}/{loose.path}"] = _entry(loose)
    for dist in kept_stale:
        for path, loose in seen.disowned.get((dist.site, dist.info), {}).items():
            found.setdefault(path, _entry(loose))
    return found


def _entry(loose: LooseFile) -> LooseEntry:
    return LooseEntry(
        path=loose.path, sha256=loose.sha256, link=loose.link, executable=loose.executable
    )


def _is_below(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")


# --- paths ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Places:
    """Which paths are the venv's, links resolved."""

    prefix: str
    site: str

    @classmethod
    def of(cls, into: Path, site: str) -> _Places:
        prefix = os.path.realpath(into)
        if not _is_below(os.path.realpath(site), prefix):
            raise UsageError(
                f"{site} lies outside {into}: it is reached through a link",
                hint="Name a directory that does not exist yet.",
            )
        return cls(prefix=str(into), site=site)

    def relative(self, path: str) -> str | None:
        """*path* below the prefix, if that is where it really lies: no link on the way to it."""
        for base in (self.site, self.prefix):
            if _is_below(path, base):
                real = os.path.realpath(base)
                rest = path[len(base.rstrip("/")) + 1 :]
                if os.path.realpath(os.path.dirname(path)) != os.path.dirname(f"{real}/{rest}"):  # noqa: PTH120
                    return None
                return f"{real}/{rest}"[len(os.path.realpath(self.prefix)) + 1 :]
        return None

    def removable(self, path: str) -> bool:
        relative = self.relative(path)
        return (
            relative is not None
            and not _OWN.fullmatch(relative)
            and not _OWN_SCRIPTS.fullmatch(relative)
            and not relative.startswith(WORK)
            and (os.path.islink(path) or os.path.isfile(path))  # noqa: PTH113, PTH114
        )


def _recorded(dist: Dist) -> list[str]:
    """The absolute paths that the RECORD of *dist* names, RECORD itself last."""
    own = f"{dist.site}/{dist.info}/RECORD"
    try:
        with open(own, "rb") as file:  # noqa: PTH123
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    columns: tuple[list[str], list[str]] | None = metadata.record(text)  # type: ignore[no-untyped-call]
    paths = [] if columns is None else columns[0]
    found = (os.path.normpath(os.path.join(dist.site, p)) for p in paths if "\0" not in p)  # noqa: PTH118
    return [*(path for path in dict.fromkeys(found) if path != own), own]


def _doomed(todo: SyncPlan, places: _Places) -> list[str]:
    """The files to remove: what the gone own and nobody else does, and the unowned ones."""
    shared = {path for dist in todo.keep for path in _recorded(dist)}
    paths = [path for dist in todo.gone for path in _recorded(dist) if path not in shared]
    files = [*todo.files_remove, *todo.sources_remove]
    paths += [path for path in files if path not in shared]
    return [path for path in dict.fromkeys(paths) if places.removable(path)]


# --- doing it ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Staging:
    """A sink that writes below another root what will be below *final*."""

    inner: sinks.DirectorySink
    root: str
    final: str
    only: frozenset[str] | None = None
    """Of the files, place these alone; None: all."""

    def _at(self, path: str) -> str:
        if not _is_below(path, self.final):
            raise LockError(
                f"a file of this lock would be written to {path}, outside {self.final}",
                hint="Do not build from this lock.",
            )
        if _OWN.fullmatch(path[len(self.final) + 1 :]):
            raise LockError(
                f"a file of this lock would replace {path}, which is the venv's own",
                hint="Do not build from this lock.",
            )
        return self.root + path[len(self.final) :]

    def put(self, path: str, stream: IO[bytes], *, executable: bool) -> tuple[str, int]:
        if self.only is not None and path not in self.only:
            return streams.copy_hashed(stream, None)
        return self.inner.put(self._at(path), stream, executable=executable)

    def link(self, path: str, target: str) -> None:
        if self.only is None or path in self.only:
            self.inner.link(self._at(path), target)

    def directory(self, directory: str) -> None:
        if self.only is None:
            self.inner.directory(self._at(directory))


def wanted(lock: Lock, todo: SyncPlan) -> list[Artifact]:
    """The artifacts that *todo* needs."""
    found = [artifact for package in todo.packages for artifact in package.artifacts]
    if todo.files_add:
        found += [site.archive for site in lock.machine.loose if site.archive is not None]
    return found + [tree.archive for tree in todo.sources if tree.archive is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a sync works with."""

    lock: Lock
    artifacts: Mapping[str, Path]
    """sha256 to a file with those bytes, of all that :func:`wanted` names."""
    into: Path
    facts: Interpreter
    """Of the venv."""
    progress: Progress


def apply(todo: SyncPlan, means: Means) -> None:
    """Do what *todo* says.

    :raises EnvfreezeError: something stood in the way. Before the first removal the venv is
        as it was; after it the error says to run the same command again.
    """
    into = Path(os.path.abspath(means.into))  # noqa: PTH100 - links are kept as they are spelt
    places = _Places.of(into, means.facts.purelib)
    with _at_work(into) as orphans:
        work = into / WORK
        _check_device(work, places)
        moves = _stage(todo, means, places, work / "new")
        doomed = _doomed(todo, places)
        doomed += [path for path in _orphans(orphans, todo, into) if places.removable(path)]
        _check_moves([target for _, target in moves], set(doomed), places)
        _note(work, [target for _, target in moves if not _is_below(target, places.site)])
        _commit((moves, doomed, todo.gone), places, means.progress)


@contextlib.contextmanager
def _at_work(into: Path) -> Iterator[list[str]]:
    """The work directory, ours alone; what a killed sync noted in it.

    It is removed at the end, but not after a failure in the midst of :func:`_commit`.
    """
    work = into / WORK
    with disk_errors(work):
        if work.is_symlink():
            work.unlink()
        work.mkdir(exist_ok=True)
        handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"{into} is being synced by another process",
                hint="Wait until it has ended.",
            ) from error
        noted = _noted(work)
        _remove_all(work / "new")
        try:
            yield noted
        except BaseException:
            # Files noted and not all in place: the next run must know of them.
            if not (work / "journal.json").exists():
                _remove_all(work)
            raise
        _remove_all(work)
    finally:
        os.close(handle)


def _remove_all(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _noted(work: Path) -> list[str]:
    try:
        found = json.loads((work / "journal.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    paths = found if isinstance(found, list) else []
    return [path for path in paths if isinstance(path, str) and "\0" not in path]


def _note(work: Path, targets: Iterable[str]) -> None:
    """Write down what will be placed where no probe looks for unowned files (``bin``, ``share``):
    if we are killed before the RECORD is there, nobody would own it."""
    paths = sorted({*_noted(work), *(os.path.relpath(t, work.parent) for t in targets)})
    with disk_errors(work):
        new = work / "journal.new"
        new.write_text(json.dumps(paths), "utf-8")
        new.replace(work / "journal.json")


def _orphans(noted: list[str], todo: SyncPlan, into: Path) -> list[str]:
    """What a killed sync noted, and no distribution that stays owns."""
    if not noted:
        return []
    owned = {path for dist in todo.keep for path in _recorded(dist)}
    full = (os.path.normpath(into / path) for path in noted)
    return [path for path in full if path not in owned]


def _stage(todo: SyncPlan, means: Means, places: _Places, new: Path) -> list[tuple[str, str]]:
    """Place all that is new below *new*; ``(where it is, where it belongs)`` of each file."""
    with disk_errors(new):
        new.mkdir()
    into = places.prefix
    python = f"{into}/bin/python"
    trees = todo.source_places
    schemes = venv.schemes(Path(into), python, means.facts.version)
    where = homes(means.lock, into, replace(schemes, site=places.site, sources=trees))
    sink = _Staging(sinks.DirectorySink(new), str(new), into)
    packages = [(package, where.of(package)) for package in todo.packages]
    with means.progress.task("place", len(packages)) as advance:
        place.place_parallel(packages, means.artifacts, sink, advance)
    only = frozenset(todo.files_add)
    for site in means.lock.machine.loose if only else ():
        if site.archive is not None:
            archive = means.artifacts[site.archive.sha256]
            venv.place_unowned(site, archive, replace(sink, only=only), where)
    for tree in todo.sources:
        if tree.archive is not None:
            archive = means.artifacts[tree.archive.sha256]
            loosefiles.place_source(tree, archive, sink, trees)
    if todo.sites:
        where.finish(sink)
    return sorted(_moves(new, into), key=lambda move: (move[1].endswith("/RECORD"), move[1]))


def _moves(new: Path, into: str) -> Iterator[tuple[str, str]]:
    for directory, names, files in os.walk(new):
        links = [name for name in names if os.path.islink(f"{directory}/{name}")]  # noqa: PTH114
        for name in [*files, *links]:
            staged = f"{directory}/{name}"
            yield staged, into + staged[len(str(new)) :]


def _check_device(work: Path, places: _Places) -> None:
    """A file can be renamed within one file system only."""
    if os.stat(work).st_dev != os.stat(places.site).st_dev:  # noqa: PTH116
        raise UsageError(
            f"{places.site} is another file system than {places.prefix}",
            hint="Name a directory that does not exist yet.",
        )


def _check_moves(targets: list[str], doomed: set[str], places: _Places) -> None:
    """See that each target can be placed once *doomed* is gone, before anything goes."""
    seen = {places.prefix, places.site, *_above(places.site, places.prefix)}
    for target in targets:
        directory = os.path.dirname(target)  # noqa: PTH120
        while directory not in seen and len(directory) > 1:
            seen.add(directory)
            link = os.path.islink(directory)  # noqa: PTH114
            file = os.path.lexists(directory) and not os.path.isdir(directory)  # noqa: PTH112
            if (link or file) and directory not in doomed:
                raise _in_the_way(directory)
            directory = os.path.dirname(directory)  # noqa: PTH120
        if os.path.isdir(target) and not os.path.islink(target):  # noqa: PTH112, PTH114
            _check_directory(target, doomed)


def _check_directory(directory: str, doomed: set[str]) -> None:
    """Whether nothing but *doomed* and compiled files lies in a directory that has to go."""
    for place_, names, files in os.walk(directory):
        links = [name for name in names if os.path.islink(f"{place_}/{name}")]  # noqa: PTH114
        for name in [*files, *links]:
            full = f"{place_}/{name}"
            if full not in doomed and not is_bytecode(full):
                raise _in_the_way(full)


def _in_the_way(path: str) -> UsageError:
    return UsageError(
        f"{path} is in the way: the lock has something else there",
        hint="Move it away, or name a directory that does not exist yet.",
    )


def _commit(
    work: tuple[list[tuple[str, str]], list[str], list[Dist]], places: _Places, progress: Progress
) -> None:
    """*work*: what to move, which files to remove, which distributions go by that."""
    moves, doomed, gone = work
    try:
        with progress.task("sync", len(doomed) + len(moves)) as advance:
            _remove(doomed, places, advance)
            for dist in gone:
                _remove_empty(f"{dist.site}/{dist.info}", places)
            for staged, target in moves:
                _move(staged, target, places)
                advance(1)
        (Path(places.prefix) / WORK / "journal.json").unlink()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_AGAIN.format(places.prefix)) from None
    except OSError as error:
        place_ = error.filename or places.prefix
        raise DiskError(
            f"cannot change {place_}: {error.strerror}", hint=_AGAIN.format(places.prefix)
        ) from error
    except LockError as error:
        error.hint = printable(_AGAIN.format(places.prefix))
        raise


_AGAIN = "{} was changed in part; run the same command again to finish it"


def _remove(doomed: list[str], places: _Places, advance: Callable[[int], None]) -> None:
    """Remove files, and at once each directory that gets empty by it."""
    for path in doomed:
        if places.removable(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108
            if path.endswith(".py"):
                _remove_bytecode(path)
            _remove_empty(os.path.dirname(path), places)  # noqa: PTH120
        advance(1)


def _remove_empty(directory: str, places: _Places) -> None:
    """Remove *directory* if it is empty, and so on upwards; the venv's own ones stay."""
    stay = {places.prefix, places.site, *_above(places.site, places.prefix)}
    stay |= {f"{places.prefix}/{name}" for name in ("bin", "lib", "lib64", "include")}
    while directory not in stay and _is_below(directory, places.prefix):
        if places.relative(directory) is None:
            return
        try:
            os.rmdir(directory)  # noqa: PTH106
        except FileNotFoundError:
            pass
        except OSError:
            return
        directory = os.path.dirname(directory)  # noqa: PTH120


def _above(path: str, top: str) -> Iterator[str]:
    while _is_below(path, top):
        path = os.path.dirname(path)  # noqa: PTH120
        yield path


def _remove_bytecode(source: str) -> None:
    """The compiled forms of *source* go with it, whichever interpreter made them (PEP 3147)."""
    directory, name = os.path.split(source)
    cache = f"{directory}/__pycache__"
    if os.path.islink(cache):  # noqa: PTH114
        return
    pattern = re.compile(re.escape(name.removesuffix(".py")) + r"\.[\w-]+(\.opt-\w+)?\.pyc")
    with contextlib.suppress(OSError):
        for entry in os.listdir(cache):  # noqa: PTH208
            if pattern.fullmatch(entry):
                os.unlink(f"{cache}/{entry}")  # noqa: PTH108
        os.rmdir(cache)  # noqa: PTH106


def _move(staged: str, target: str, places: _Places) -> None:
    """Rename, which replaces a file whole: one that uv linked from its cache keeps its bytes."""
    directory = os.path.dirname(target)  # noqa: PTH120
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103
    if places.relative(target) is None:
        raise LockError(f"{target} lies behind a link, and nothing is written through one")
    if os.path.isdir(target) and not os.path.islink(target):  # noqa: PTH112, PTH114
        shutil.rmtree(target)  # Nothing but compiled files is left in it.
    os.replace(staged, target)  # noqa: PTH105
