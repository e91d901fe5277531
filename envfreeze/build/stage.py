"""A base with the system packages of a lock: put in by its own dpkg, in an engine, as one layer.

What dpkg does is nearly the same each time. The rest is taken out here: logs, caches, backups, what
the engine itself puts into a container, bytecode, and the times of what was written just now. So
two builds of one lock give the same layer, and with it the same image.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import posixpath
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from envfreeze.build import ociarchive, ocilayers, place, tree
from envfreeze.build.engine import Engine, Step
from envfreeze.build.ocibase import PERMISSIONS, BaseTree, directory_of, look
from envfreeze.build.ocilayers import Layer, Maker, Part
from envfreeze.build.said import OnLine
from envfreeze.errors import ArtifactError, EngineError
from envfreeze.model.lock import Lock
from envfreeze.render import dockerfile, imageconfig
from envfreeze.resolve import ociimage, tars
from envfreeze.resolve.ociimage import Image, Platform, of_docker_save
from envfreeze.store import CHUNK, Cache, disk_errors

TITLE = "system packages"
_PLACE = "tmp/envfreeze-system"
_FORMAT = "2"
"""Raise it with what is taken out: it is part of what a layer is known by."""
_INSTALL = f"sh /{_PLACE}/install.sh"
_INDEX = "if command -v ldconfig >/dev/null; then ldconfig; fi; rm -f /var/cache/ldconfig/aux-cache"
_REMOVE = f"rm -rf /{_PLACE}"

_NOT_OURS = re.compile(
    r"/(\.dockerenv|(dev|proc|run|sys|tmp|var/tmp)/.*"
    r"|etc/(hostname|hosts|mtab|resolv\.conf)"
    r"|var/log/.*|var/cache/(apt|debconf|fontconfig|ldconfig|man)/.*|var/lib/apt/lists/.*"
    r"|var/lib/dpkg/(lock.*|triggers/Lock|[^/]*-old)"
    r"|.*/__pycache__/[^/]*\.pyc)"
)
"""What the engine mounts or puts in, and what a running system makes for itself."""
_DEBCONF = re.compile(r"/var/cache/debconf/[^/]*\.dat")
"""Answers to packages' questions, no cache in spite of the name."""
_MACHINE_ID = "/etc/machine-id"
"""One for all containers is worse than none: machine-id(5) says to ship it empty."""
_CAPABILITY = "SCHILY.xattr.security.capability"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to put into a base."""

    lock: Lock
    artifacts: Mapping[str, Path]
    """sha256 to a file with these bytes, checked."""
    base: Image
    reference: str | None
    """How the engine knows the base; None: it does not, and takes it from its layers."""
    cache: Cache
    scratch: Path


def staged(wanted: Wanted, engine: Engine, on_line: OnLine = lambda _line: None) -> Image:
    """The base with one more layer, out of the cache if it was made before.

    :raises EngineError: a step failed; it says what dpkg said last.
    """
    below = look(wanted.base, wanted.cache)
    stage = _Stage(wanted, below, engine, on_line)
    layer = Maker(wanted.cache, below, tree.EPOCH).one(stage.part())
    return _with_layer(wanted.base, layer)


def _with_layer(base: Image, layer: Layer) -> Image:
    note = layer.note
    ids = [*base.diff_ids, f"sha256:{note.digest}"]
    blob = ociarchive.layer_blob(layer.path, note.digest, note.size)
    return replace(
        base,
        config=imageconfig.with_layer(base.config, len(base.diff_ids), layer.title),
        layers=[*base.layers, blob],
        diff_ids=ids,
    )


class _Stage:
    """One layer to make."""

    def __init__(self, wanted: Wanted, below: BaseTree, engine: Engine, on_line: OnLine) -> None:
        self._wanted = wanted
        self._below = below
        self._engine = engine
        self._on_line = on_line
        self._texts = dockerfile.system_files(wanted.lock)

    def part(self) -> Part:
        lock = self._wanted.lock
        unowned = lock.machine.system.unowned
        held = None if unowned is None or unowned.archive is None else unowned.archive.sha256
        return Part(
            title=TITLE,
            key=ocilayers.key(
                "stage", _FORMAT, self._wanted.base.diff_ids, self._texts, self._command(), held
            ),
            own="/",
            put=self._put,
            weight=0,
        )

    def _command(self) -> str:
        system = self._wanted.lock.machine.system
        steps = [_INSTALL] if system.packages else []
        steps += [f"{{ {_INDEX}; }}"] if system.unowned is not None else []
        return " && ".join([*steps, _REMOVE])

    def _put(self, sink: place.TarSink) -> None:
        with tempfile.TemporaryDirectory(prefix="stage-", dir=self._wanted.scratch) as scratch:
            saved = Path(scratch) / "saved.tar"
            with self._reference() as reference, disk_errors(saved), saved.open("wb") as file:
                step = Step(
                    image=reference,
                    command=self._command(),
                    environment={"SOURCE_DATE_EPOCH": str(tree.EPOCH)},
                )
                began = self._engine.changed(step, self._files(), file, self._on_line)
            changes = _Changes(_uppermost(saved, Path(scratch), self._platform()), began)
            changes.teach(self._below)
            changes.put(sink, self._below)

    def _platform(self) -> Platform:
        config = self._wanted.base.config
        return str(config.get("architecture")), str(config.get("variant") or "")

    @contextlib.contextmanager
    def _reference(self) -> Iterator[str]:
        """The base, in the engine: for a while, where it comes from its layers."""
        wanted = self._wanted
        if wanted.reference is not None:
            self._engine.base_by_digest(wanted.reference)
            yield wanted.reference
            return
        tag = f"envfreeze-base:{wanted.base.digest.rpartition(':')[2][:12]}"
        content = ociarchive.Content(
            config=wanted.base.config, below=wanted.base.layers, above=[], tag=tag
        )
        path = wanted.scratch / "base-to-load.tar"
        try:
            ociarchive.write(path, content, tree.EPOCH)
            self._engine.load(path)
            yield tag
        finally:
            path.unlink(missing_ok=True)
            self._engine.remove(tag)

    def _files(self) -> Iterator[bytes]:
        """A tar for ``/``: what the steps need, and files that no package owns."""
        debs = dockerfile.deb_files(self._wanted.lock)
        with tempfile.TemporaryFile(dir=self._wanted.scratch) as packed:
            with place.TarSink(packed, "/", tree.EPOCH, self._below) as sink:
                for name, text in sorted(self._texts.items()):
                    path = f"/{_PLACE}/{posixpath.basename(name)}"
                    sink.put(path, io.BytesIO(text.encode()), executable=False)
                for name, sha256 in sorted(debs.items()):
                    path = f"/{_PLACE}/{posixpath.basename(name)}"
                    with self._wanted.artifacts[sha256].open("rb") as deb:
                        sink.put(path, deb, executable=False)
                tree.Tree(self._wanted.lock, self._wanted.artifacts).put_system(sink)
                end = sink.size + 2 * tarfile.BLOCKSIZE
            # Podman's unpacking stops at the two empty blocks, and then nobody reads the padding.
            packed.truncate(end)
            packed.seek(0)
            while block := packed.read(CHUNK):
                yield block


class _Changes:
    """The uppermost layer of a saved image, read without its accidents."""

    def __init__(self, layer: Path, began: int) -> None:
        """
        :param began: seconds since 1970, by the engine's clock: what is newer was written in it.
        """
        self._path = layer
        self._began = began
        self._changed: set[str] = set()
        try:
            with self._path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
                members = archive.getmembers()
        except (OSError, *tars.DAMAGE) as error:
            raise EngineError(f"the engine saved a layer that cannot be read: {error}") from error
        found = {posixpath.normpath("/" + member.name): member for member in members}
        self._members = dict(sorted((p, m) for p, m in found.items() if not _is_dropped(p)))

    def teach(self, below: BaseTree) -> None:
        """Let *below* have the directories and links that came."""
        for path, member in self._members.items():
            if member.isdir():
                mode = directory_of(member)
                if below.directories.get(path) != mode:
                    self._changed.add(path)
                below.directories[path] = mode
                below.links.pop(path, None)
            elif member.issym():
                below.links[path] = member.linkname

    def put(self, sink: place.TarSink, below: BaseTree) -> None:
        """Write them; of several names of one file the first as the file."""
        first: dict[str, str] = {}
        for path, member in self._members.items():
            directory, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                for gone in _children(below, directory):
                    if gone not in self._members:
                        sink.delete(gone)
            elif name.startswith(".wh."):
                sink.delete(f"{directory}/{name.removeprefix('.wh.')}")
            elif member.isdir():
                if path in self._changed:  # Others come with what lies in them.
                    sink.directory(path)
            else:
                self._one(sink, path, member, first)

    def _one(
        self, sink: place.TarSink, path: str, member: tarfile.TarInfo, first: dict[str, str]
    ) -> None:
        own = posixpath.normpath("/" + member.linkname) if member.islnk() else path
        content = self._members.get(own, member)
        made = _plain(path, content, self._began)
        if own in first:
            made.type, made.linkname, made.size = tarfile.LNKTYPE, first[own].lstrip("/"), 0
            sink.add(made, None)
            return
        first[own] = path
        if path == _MACHINE_ID:
            made.size = 0
        if not content.isreg():
            sink.add(made, None)
            return
        with ociimage.part(self._path, content.offset_data, made.size) as data:
            sink.add(made, data)


def _is_dropped(path: str) -> bool:
    shown = path.replace("/.wh.", "/")
    return path == "/" or (
        _NOT_OURS.fullmatch(shown) is not None and _DEBCONF.fullmatch(shown) is None
    )


def _plain(path: str, member: tarfile.TarInfo, began: int) -> tarfile.TarInfo:
    """The member as it is the same each time."""
    made = tarfile.TarInfo(path.lstrip("/"))
    made.type, made.size, made.linkname = member.type, member.size, member.linkname
    made.mode, made.uid, made.gid = member.mode & PERMISSIONS, member.uid, member.gid
    made.devmajor, made.devminor = member.devmajor, member.devminor
    made.mtime = tree.EPOCH if member.mtime >= began else int(member.mtime)
    made.pax_headers = {k: v for k, v in member.pax_headers.items() if k == _CAPABILITY}
    return made


def _children(below: BaseTree, directory: str) -> list[str]:
    head = directory.rstrip("/") + "/"
    known = (below.directories, below.links, below.files)
    paths = {path for each in known for path in each if path.startswith(head)}
    return sorted(path for path in paths if "/" not in path[len(head) :])


def _uppermost(saved: Path, scratch: Path, platform: Platform) -> Path:
    """The last layer of the image in an archive of ``docker save``, unpacked, as a file.

    :raises ArtifactError: it is not what the image's configuration names.
    """
    image = of_docker_save(saved, "the changed base", "", platform)
    blob, wanted = image.layers[-1], image.diff_ids[-1]
    path = scratch / "layer.tar"
    with blob.open() as packed:
        is_packed = packed.read(2) == b"\x1f\x8b"
    with disk_errors(path), path.open("wb") as out, blob.open() as packed:
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=packed)) if is_packed else packed
        try:
            digest = place.copy_hashed(stream, out)[0]
        except tars.DAMAGE as error:
            raise ArtifactError(f"the engine saved a layer that is damaged: {error}") from error
    if f"sha256:{digest}" != wanted:
        raise ArtifactError(
            f"the engine saved a layer that is not the one it names\nexpected {wanted}\n"
            f"     got sha256:{digest}"
        )
    return path
