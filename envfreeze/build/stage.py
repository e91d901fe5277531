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
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from envfreeze.build import ociarchive, ocilayers, sinks, streams, tree
from envfreeze.build.changes import Changes
from envfreeze.build.engine import Engine, Step
from envfreeze.build.ocibase import BaseTree, look
from envfreeze.build.ocilayers import Layer, Maker, Part
from envfreeze.build.said import OnLine
from envfreeze.errors import ArtifactError
from envfreeze.model.lock import Lock
from envfreeze.render import dockerfile, imageconfig
from envfreeze.resolve import tars
from envfreeze.resolve.ociimage import Image, Platform, of_docker_save
from envfreeze.store import CHUNK, Cache, disk_errors

TITLE = "system packages"
_PLACE = "tmp/envfreeze-system"
_FORMAT = "3"
"""Raise it with what is taken out: it is part of what a layer is known by."""
_INSTALL = f"sh /{_PLACE}/install.sh"
_INDEX = "if command -v ldconfig >/dev/null; then ldconfig; fi; rm -f /var/cache/ldconfig/aux-cache"
_REMOVE = f"rm -rf /{_PLACE}"


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


def known(wanted: Wanted) -> Image | None:
    """The same, if it was made before: no .deb has to be read again to see that only an engine can
    install it."""
    layer = ocilayers.known(_key(wanted), TITLE, wanted.cache)
    return None if layer is None else _with_layer(wanted.base, layer)


def _key(wanted: Wanted) -> str:
    """What the layer is known by."""
    unowned = wanted.lock.machine.system.unowned
    held = None if unowned is None or unowned.archive is None else unowned.archive.sha256
    texts = dockerfile.system_files(wanted.lock)
    command = _command(wanted.lock)
    return ocilayers.key("stage", _FORMAT, wanted.base.diff_ids, texts, command, held)


def _command(lock: Lock) -> str:
    system = lock.machine.system
    steps = [_INSTALL] if system.packages else []
    steps += [f"{{ {_INDEX}; }}"] if system.unowned is not None else []
    return " && ".join([*steps, _REMOVE])


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
        return Part(title=TITLE, key=_key(self._wanted), own="/", put=self._put, weight=0)

    def _put(self, sink: sinks.TarSink) -> None:
        with tempfile.TemporaryDirectory(prefix="stage-", dir=self._wanted.scratch) as scratch:
            saved = Path(scratch) / "saved.tar"
            with self._reference() as reference, disk_errors(saved), saved.open("wb") as file:
                step = Step(
                    image=reference,
                    command=_command(self._wanted.lock),
                    environment={"SOURCE_DATE_EPOCH": str(tree.EPOCH)},
                )
                began = self._engine.changed(step, self._files(), file, self._on_line)
            changes = Changes(_uppermost(saved, Path(scratch), self._platform()), began)
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
            with sinks.TarSink(packed, "/", tree.EPOCH, self._below) as sink:
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
            digest = streams.copy_hashed(stream, out)[0]
        except tars.DAMAGE as error:
            raise ArtifactError(f"the engine saved a layer that is damaged: {error}") from error
    if f"sha256:{digest}" != wanted:
        raise ArtifactError(
            f"the engine saved a layer that is not the one it names\nexpected {wanted}\n"
            f"     got sha256:{digest}"
        )
    return path
