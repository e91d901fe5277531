"""A lock to an image archive, without an engine: layer by layer, the same bytes each time.

The base's layers come first, as they are; then what changes least. Nothing is run, so what only
running something could bring about is refused (:mod:`envfreeze.build.ocidebs`).
"""

from __future__ import annotations

import gzip
import io
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from envfreeze.build import ociarchive, ocidebs, ocilayers, sinks, tree
from envfreeze.build.ociarchive import Written, layer_blob
from envfreeze.build.ocibase import BaseTree, look
from envfreeze.build.ocidebs import Additions, NeedsEngineError
from envfreeze.build.ocilayers import Layer, Maker, Part, Put
from envfreeze.errors import ArtifactError, LockError
from envfreeze.model.lock import Lock, Package
from envfreeze.progress import Progress
from envfreeze.render import dockerfile, imageconfig
from envfreeze.render.running import Running
from envfreeze.resolve import tars
from envfreeze.resolve.ociimage import Blob, Image
from envfreeze.store import Cache

LOCK_PATH = "/usr/share/envfreeze/env.lock"
_EVERYTHING = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to build from, and where."""

    lock: Lock
    lock_path: Path
    lock_sha256: str
    artifacts: Mapping[str, Path]
    """sha256 to a file with these bytes, checked."""
    base: Image
    tag: str
    into: Path
    cache: Cache
    staged: bool = False
    """The base has the lock's system already (:mod:`envfreeze.build.stage`)."""
    there: Sequence[Sequence[str]] = ()
    """The DiffIDs of images that the engine has: the lowest layers in common are not written."""
    running: Running = field(default_factory=Running)


def build(plan: Plan, progress: Progress) -> Written:
    """Write the archive.

    :raises LockError: a path or a value that no image can have.
    :raises ArtifactError: something has other bytes than the lock or the base names.
    :raises NeedsEngineError: something would have to be run in the base.
    """
    dockerfile.check_held(plan.lock)
    if plan.lock.machine.system.unowned is not None and not plan.staged:
        # The loader's index would have to be made anew, by the base's own ldconfig.
        raise NeedsEngineError(
            "the lock has libraries that no system package owns",
            hint="Build it with --to docker.",
        )
    with progress.task("base"):
        below = look(plan.base, plan.cache)
        system = ocidebs.plan(plan.lock, below, plan.artifacts)
    layers = _layers(_Making(plan, below, system), progress)
    config = imageconfig.render(
        plan.lock,
        plan.base.config,
        dockerfile.labels(plan.lock, (plan.base.name, plan.base.digest), plan.lock_sha256),
        [(layer.title, f"sha256:{layer.note.digest}") for layer in layers],
        plan.base.diff_ids,
        plan.running,
    )
    above = [layer_blob(one.path, one.note.digest, one.note.size) for one in layers]
    content = ociarchive.Content(
        config=config,
        below=plan.base.layers,
        above=above,
        tag=plan.tag,
        absent=_absent(plan, config, [*plan.base.layers, *above]),
    )
    with progress.task("write"):
        return ociarchive.write(plan.into, content, tree.EPOCH)


def _absent(plan: Plan, config: Mapping[str, Any], layers: Sequence[Blob]) -> frozenset[str]:
    """The lowest layers that are those of an image in *plan.there*."""
    ours = config["rootfs"]["diff_ids"]
    count = max((_common(ours, theirs) for theirs in plan.there), default=0)
    return frozenset(blob.descriptor.digest for blob in layers[:count])


def _common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many of the lowest layers are the same."""
    count = 0
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        count += 1
    return count


def _layers(making: _Making, progress: Progress) -> list[Layer]:
    """The layers; all distributions in one where two of them have a file in the same place, since
    then it is the lock's order that says which one stays."""
    for groups in (ocilayers.groups(making.tree.packages), None):
        parts = making.parts(groups)
        with progress.task("layers", len(parts)) as advance:
            layers = making.maker.all(parts, advance)
        if ocilayers.check_together(layers):
            break
    return layers


class _Making:
    """The parts of one build."""

    def __init__(self, plan: Plan, below: BaseTree, system: Additions | None) -> None:
        self._plan = plan
        self._lock = plan.lock
        self._below = below
        self._system = system
        self.maker = Maker(plan.cache, below, tree.EPOCH)
        self.tree = tree.Tree(plan.lock, plan.artifacts)

    def parts(self, groups: list[list[Package]] | None) -> list[Part]:
        """What changes least comes first.

        :param groups: None: everything of the environment in one.
        """
        archive = self._lock.machine.interpreter.archive
        base = self._lock.machine.base
        found = [self._removed(base.removed)] if base is not None and base.removed else []
        found += [] if self._system is None else [self._debs(self._system)]
        if archive is not None:
            found.append(self._interpreter(archive.sha256))
        if groups is None:
            found.append(self._whole())
        else:
            found += [self._packages(group) for group in groups]
            found.append(self._rest())
        return [*found, self._lock_file()]

    def _part(self, title: str, roots: list[str], put: Put, *values: object) -> Part:
        weight = sum(value.artifact.size for value in values if isinstance(value, Package))
        return Part(
            title=title,
            key=ocilayers.key(title, tree.EPOCH, self._below.digest(roots), *values),
            own=_EVERYTHING,
            put=put,
            weight=weight,
        )

    def _packages(self, group: list[Package]) -> Part:
        def put(sink: sinks.TarSink) -> None:
            for package in group:
                self.tree.put_package(package, sink)

        schemes = [self.tree.schemes_of(package) for package in group]
        roots = [root for one in schemes for root in (one.site, one.scripts, one.headers, one.data)]
        return self._part("Python packages", roots, put, schemes, *group)

    def _rest(self) -> Part:
        def put(sink: sinks.TarSink) -> None:
            self.tree.put_venv(sink)
            self.tree.put_unowned(sink)
            self.tree.put_sources(sink)

        return self._part("files that no package owns", [_EVERYTHING], put, *self._outside())

    def _whole(self) -> Part:
        def put(sink: sinks.TarSink) -> None:
            self.tree.put_venv(sink)
            for package in self.tree.packages:
                self.tree.put_package(package, sink)
            self.tree.put_unowned(sink)
            self.tree.put_sources(sink)

        values = [*self._outside(), *self.tree.packages]
        return self._part("Python environment", [_EVERYTHING], put, *values)

    def _outside(self) -> list[object]:
        machine = self._lock.machine
        return [machine.interpreter.facts, machine.loose, machine.sources]

    def _removed(self, paths: list[str]) -> Part:
        """What the base has and the environment had not."""

        def put(sink: sinks.TarSink) -> None:
            for path in paths:
                sink.delete(tree.absolute(path))

        roots = sorted({posixpath.dirname(path) for path in paths})
        return self._part("what is removed from the base", roots, put, paths)

    def _debs(self, system: Additions) -> Part:
        values = [*self._plan.base.diff_ids, *system.key]
        return self._part("system packages", [_EVERYTHING], system.put, *values)

    def _interpreter(self, sha256: str) -> Part:
        path = self._plan.artifacts[sha256]

        def put(sink: sinks.TarSink) -> None:
            _put_archive(path, sink)

        return self._part("interpreter", [_EVERYTHING], put, sha256)

    def _lock_file(self) -> Part:
        def put(sink: sinks.TarSink) -> None:
            data = self._plan.lock_path.read_bytes()
            digest, _ = sink.put(LOCK_PATH, io.BytesIO(data), executable=False)
            if digest != self._plan.lock_sha256:
                raise ArtifactError(
                    f"{self._plan.lock_path} changed while it was built from", hint="Run it again."
                )

        roots = [posixpath.dirname(LOCK_PATH)]
        return self._part("lock", roots, put, self._plan.lock_sha256)


def _put_archive(path: Path, sink: sinks.TarSink) -> None:
    """The packed interpreter: its files and links as they are, links last.

    :raises LockError: a member that has no place in an image.
    """
    links = []
    try:
        with gzip.open(path) as packed:
            for member, content in tars.members(cast("IO[bytes]", packed)):
                name = tree.absolute("/" + member.name.rstrip("/"))
                if member.isdir():
                    sink.directory(name)
                elif member.issym():
                    links.append((name, member.linkname))
                elif content is not None:
                    executable = bool(member.mode & 0o111)
                    sink.put(name, _sized(content, member.size), executable=executable)
                else:
                    raise LockError(
                        f"{path.name} holds {member.name!r}, which is no file and no link",
                        hint="Do not build from this lock.",
                    )
    except tars.DAMAGE as error:
        raise ArtifactError(f"{path.name} is not a whole tar.gz: {error}") from error
    for name, target in sorted(links):
        sink.link(name, target)


def _sized(content: IO[bytes], size: int) -> IO[bytes]:
    content.whole_size = size  # type: ignore[attr-defined]
    return content
