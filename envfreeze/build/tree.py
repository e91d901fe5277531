"""The whole environment of a lock as one tar relative to ``/``: a layer of an image.

Everything comes back at the path it had, so that recorded absolute paths and scripts work.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from envfreeze.build import loosefiles, place, sinks
from envfreeze.build.layout import Schemes
from envfreeze.errors import LockError
from envfreeze.model.lock import Lock, LooseSite, Package, SourceTree
from envfreeze.model.snapshot import Interpreter
from envfreeze.probe.sitepath import prefix_of
from envfreeze.progress import Progress
from envfreeze.render.running import LINKS
from envfreeze.store import disk_errors

EPOCH = 315_532_800
"""1980-01-01: the time of every member, so that two runs give the same bytes."""

SYSTEM_PREFIXES = frozenset({"/", "/usr", "/usr/local"})


def write(
    lock: Lock,
    artifacts: Mapping[str, Path],
    path: Path,
    progress: Progress,
    wanted: Callable[[Package], bool] = lambda _package: True,
) -> None:
    """Write the environment of *lock* to the tar *path*.

    :param artifacts: sha256 to a file with these bytes.
    :param wanted: which distributions; everything else is written in any case.
    :raises LockError: a path in the lock that has no place in an image.
    """
    tree = Tree(lock, artifacts)
    with (
        disk_errors(path),
        path.open("wb") as file,
        sinks.TarSink(file, tree.own, EPOCH) as sink,
    ):
        tree.put_venv(sink)
        packages = [package for package in tree.packages if wanted(package)]
        with progress.task("place", len(packages)) as advance:
            for package in packages:
                tree.put_package(package, sink)
                advance(1)
        tree.put_unowned(sink)
        tree.put_sources(sink)
        tree.put_system(sink)
        if sink.is_empty:  # An engine takes an empty tar for a plain file.
            sink.directory(absolute(tree.facts.scripts))


class Tree:
    """A lock's environment, which comes into a sink piece by piece."""

    def __init__(self, lock: Lock, artifacts: Mapping[str, Path]) -> None:
        """:raises LockError: a path in the lock that has no place in an image."""
        self.lock = lock
        self.facts = lock.machine.interpreter.facts
        self.own = _own(self.facts)
        """The directory that belongs to the environment alone."""
        self.packages = [*lock.packages, *lock.machine.shadowed]
        self.places = {
            source.key: absolute(source.root)
            for source in lock.machine.sources
            if source.archive is not None
        }
        self._artifacts = artifacts
        sites = {lock.site_of(package) for package in self.packages}
        self._schemes = {site: _schemes(site, self.facts, self.places) for site in sites}

    def schemes_of(self, package: Package) -> Schemes:
        """Where the files of *package* go."""
        return self._schemes[self.lock.site_of(package)]

    def put_venv(self, sink: sinks.Sink) -> None:
        """What makes a directory a virtual environment, where it was one; otherwise links by which
        PATH leads to this interpreter, whatever else the base has below that name. (A venv has
        its own, and is none when it is called through a link.)"""
        base = self.lock.machine.base
        if self.facts.venv:
            if base is not None and base.venv:
                return
            _venv(self.facts, sink)
            return
        for name in ("python", "python3"):
            sink.link(f"{LINKS}/{name}", absolute(self.facts.base_executable))

    def put_package(self, package: Package, sink: sinks.Sink) -> None:
        """One distribution."""
        wheel = self._artifacts[package.artifact.sha256]
        patch = place.patch_of(package, self._artifacts)
        place.place_package(package, wheel, sink, self.schemes_of(package), patch)

    def put_unowned(self, sink: sinks.Sink) -> None:
        """The files that no distribution owns."""
        for loose in self.lock.machine.loose:
            if loose.archive is not None:
                archive = self._artifacts[loose.archive.sha256]
                schemes = _loose_schemes(loose, self.facts, self.places)
                loosefiles.place_loose(loose, archive, sink, schemes)

    def put_sources(self, sink: sinks.Sink) -> None:
        """The source trees that it imports from."""
        for source in self.lock.machine.sources:
            _source(source, self._artifacts, sink, self.places)

    def put_system(self, sink: sinks.Sink) -> None:
        """What no system package brings, at the very places that it had."""
        unowned = self.lock.machine.system.unowned
        if unowned is None or unowned.archive is None:
            return
        everything = LooseSite(site="/", archive=unowned.archive, files=unowned.files)
        schemes = Schemes(site="/", scripts="/", headers="/", data="/", python="/")
        archive = self._artifacts[unowned.archive.sha256]
        loosefiles.place_loose(everything, archive, sink, schemes)


def _source(
    source: SourceTree,
    artifacts: Mapping[str, Path],
    sink: sinks.Sink,
    places: Mapping[str, str],
) -> None:
    """A source tree at the place it had, and at the other names that it had."""
    if source.archive is None:
        return
    loosefiles.place_source(source, artifacts[source.archive.sha256], sink, places)
    for spelling in source.spellings:
        sink.link(absolute(spelling), places[source.key])


def _loose_schemes(loose: LooseSite, facts: Interpreter, sources: Mapping[str, str]) -> Schemes:
    """Unowned files come back in the very directory that they were in."""
    if loose.scheme == "scripts":
        return replace(_schemes(facts.purelib, facts, sources), scripts=absolute(loose.site))
    return _schemes(loose.site, facts, sources)


def _own(facts: Interpreter) -> str:
    """The directory that belongs to the environment alone."""
    if facts.prefix == "/" or absolute(facts.prefix) in SYSTEM_PREFIXES:
        return absolute(facts.purelib)
    return absolute(facts.prefix)


def absolute(path: str) -> str:
    """*path*, which a lock gave, if it is an absolute and plain POSIX path below ``/``.

    :raises LockError: it is not.
    """
    plain = path.rstrip("/")
    if (
        not plain.startswith("/")
        or plain.startswith("//")
        or posixpath.normpath(plain) != plain
        or re.search(r"[\x00-\x1f\x7f]", path)
    ):
        raise LockError(
            f"the lock has {path!r} where an absolute path belongs",
            hint="Do not build from this lock; capture again.",
        )
    return plain


def _schemes(site: str, facts: Interpreter, sources: Mapping[str, str]) -> Schemes:
    site = absolute(site)
    prefix = absolute(prefix_of(site, facts.prefix))  # type: ignore[no-untyped-call]
    tag = "python" + ".".join(facts.version.split(".")[:2])
    own = facts.venv and prefix == facts.prefix.rstrip("/")
    headers = f"{prefix}/include/site/{tag}" if own else f"{prefix}/include/{tag}{facts.abiflags}"
    return Schemes(
        site=site,
        scripts=f"{prefix}/bin",
        headers=headers,
        data=prefix,
        python=absolute(facts.executable if facts.venv else facts.base_executable),
        sources=sources,
    )


def _venv(facts: Interpreter, sink: sinks.Sink) -> None:
    """What makes a directory a virtual environment: PEP 405's file and the links to the base."""
    prefix = absolute(facts.prefix)
    base = absolute(facts.base_executable)
    if not re.fullmatch(r"\d+\.\d+\.\d+[a-z0-9+]*", facts.version):
        raise LockError(f"the lock's interpreter has the version {facts.version!r}")
    minor = ".".join(facts.version.split(".")[:2])
    text = (
        f"home = {posixpath.dirname(base)}\n"
        f"include-system-site-packages = {'true' if facts.system_site else 'false'}\n"
        f"version = {facts.version}\n"
    )
    sink.put(f"{prefix}/pyvenv.cfg", io.BytesIO(text.encode()), executable=False)
    sink.link(f"{prefix}/bin/python", base)
    for name in ("python3", f"python{minor}"):
        sink.link(f"{prefix}/bin/{name}", "python")
