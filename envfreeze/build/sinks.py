"""Where placed files go: a directory of this machine, or a tar that becomes a layer of an image."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import os
import posixpath
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, cast

from envfreeze.build.streams import Joined, blocks, copy_hashed
from envfreeze.errors import ArtifactError, LockError
from envfreeze.resolve import tars
from envfreeze.resolve.interpreter import SHARED_DIRECTORIES
from envfreeze.store import CHUNK, disk_errors

_INLINE = CHUNK
"""Bytes of a file that is read at once, so that its size is known before it is written."""


class Writable(Protocol):
    """Where a tar goes: a file, a :class:`envfreeze.store.BlobWriter`."""

    def write(self, data: bytes, /) -> object: ...


class Sink(Protocol):
    """Where files go. Paths are absolute, as the finished environment will see them."""

    def put(self, path: str, stream: IO[bytes], *, executable: bool) -> tuple[str, int]:
        """Write a file; its sha256 (hex) and its size."""

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link."""

    def directory(self, directory: str) -> None:
        """Make a directory that no file brings."""


@dataclass(frozen=True, slots=True)
class DirectorySink:
    """Files on this machine, below *root* only, and never written through a link."""

    root: Path
    _entered: set[str] = field(default_factory=set)

    def put(self, path: str, stream: IO[bytes], *, executable: bool) -> tuple[str, int]:
        # Of many files: text where a Path would take as long as the file.
        if path.rpartition("/")[0] not in self._entered:
            self._enter(Path(path).parent)
        with disk_errors(path):
            with _create(path) as file:
                result = copy_hashed(stream, file)
            if executable:
                Path(path).chmod(0o755)
        return result

    def link(self, path: str, target: str) -> None:
        place = Path(path)
        self._enter(place.parent)
        if place.is_dir() and not place.is_symlink():
            raise file_and_directory(path)
        with disk_errors(place):
            place.unlink(missing_ok=True)
            place.symlink_to(target)

    def directory(self, directory: str) -> None:
        self._enter(Path(directory))

    def _enter(self, directory: Path) -> None:
        """Make *directory*, and see that it really lies below the root."""
        if str(directory) in self._entered:
            return
        root = os.path.realpath(self.root)
        here = os.path.realpath(directory)
        if here != root and not here.startswith(root.rstrip("/") + "/"):
            raise LockError(
                f"a file of this lock would be written to {directory}, outside {self.root}",
                hint="Do not build from this lock.",
            )
        with disk_errors(directory):
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise file_and_directory(str(directory)) from error
        self._entered.add(str(directory))


def _create(path: str) -> IO[bytes]:
    """A new file at *path*; a link that stands there is replaced, not written through."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(path, flags, 0o666), "wb")
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def through_link(directory: str) -> LockError:
    """A lock that would have a file written through a link of its own."""
    return LockError(
        f"a file of this lock would be written through its link {directory}",
        hint="Do not build from this lock.",
    )


def file_and_directory(path: str) -> LockError:
    """A lock that has two kinds of thing in one place."""
    return LockError(
        f"this lock has a file or link and a directory in the same place: {path}",
        hint="Do not build from this lock; capture again.",
    )


class Surroundings(Protocol):
    """What a tar is unpacked onto."""

    def real(self, directory: str) -> str:
        """*directory* with the links followed that are there."""

    def ready(self, directory: str) -> bytes | None:
        """The header of a directory that is there; None: it is not."""


class TarSink:
    """Files in a tar whose members are relative to ``/``: the same input gives the same bytes.

    One pass: a file is hashed while it is written. Large ones of unknown size alone are set aside
    first, since a header tells the size.
    """

    def __init__(
        self,
        file: Writable,
        own: str,
        epoch: int = 0,
        below: Surroundings | None = None,
        writes: Mapping[str, int] | None = None,
    ) -> None:
        """
        :param own: the directory below which every directory is written out too; above it
            they belong to the image, and their modes must not change.
        :param epoch: modification time of every member, seconds since 1970.
        :param below: what is there already. With it every directory is written out, as it is
            there or new: the tar becomes a layer that is laid over the others, and an engine gives
            a directory that a layer does not describe whatever mode it likes.
        :param writes: how often a path comes, as an earlier pass has counted: only the last one
            is written.
        """
        self._file = file
        self._own = (own.rstrip("/") + "/", "/usr/lib/envfreeze/")
        self._epoch = epoch
        self._below = below
        self._writes = writes or {}
        self._written: Counter[str] = Counter()
        self._buffer = bytearray()
        self._size = 0
        self.directories: set[str] = set()
        self.links: set[str] = set()
        self.files: set[str] = set()

    @property
    def repeated(self) -> dict[str, int]:
        """How often the paths came that came more than once. An engine may refuse such a layer:
        docker's tar-split does ("duplicates of file paths not supported")."""
        return {path: count for path, count in self._written.items() if count > 1}

    def _is_last(self, member: tarfile.TarInfo) -> bool:
        """Whether *member* is to be written: nothing comes at its path later."""
        self._written[member.name] += 1
        return self._written[member.name] >= self._writes.get(member.name, 1)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written yet."""
        return self._size == 0

    def __enter__(self) -> TarSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._size

    def close(self) -> None:
        """Write the end of the archive."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self._size % tarfile.RECORDSIZE))
        self._flush()

    def put(self, path: str, stream: IO[bytes], *, executable: bool) -> tuple[str, int]:
        member = self._member(path)
        member.mode = 0o755 if executable else 0o644
        head = tars.read(stream, _INLINE)
        size = getattr(stream, "whole_size", None)
        self.files.add(f"/{member.name}")
        if not self._is_last(member):
            return copy_hashed(cast("IO[bytes]", Joined(io.BytesIO(head), stream)), None)
        if len(head) <= _INLINE:
            return self._put(member, len(head), [head])
        if isinstance(size, int):
            return self._put(member, size, itertools.chain([head], blocks(stream)))
        with tempfile.TemporaryFile() as spool:
            spool.write(head)
            shutil.copyfileobj(stream, spool, CHUNK)
            size = spool.tell()
            spool.seek(0)
            return self._put(member, size, blocks(spool))

    def _put(self, member: tarfile.TarInfo, size: int, blocks: Iterable[bytes]) -> tuple[str, int]:
        member.size = size
        self._header(member)
        digest = hashlib.sha256()
        left = size
        for block in blocks:
            digest.update(block)
            left -= len(block)
            self._write(block)
        if left:
            raise ArtifactError(f"{member.name} is not as large as its archive says")
        self._write(bytes(-size % tarfile.BLOCKSIZE))
        return digest.hexdigest(), size

    def add(self, member: tarfile.TarInfo, content: IO[bytes] | None) -> tuple[str, int]:
        """A member as it is, but for its place; directories above it come first."""
        own = self._member("/" + member.name.lstrip("/"))
        member.name = own.name
        if not self._is_last(member):
            return ("", 0) if content is None else copy_hashed(content, None)
        if content is None:
            self._header(member)
            (self.links if member.issym() else self.files).add(f"/{member.name}")
            return "", 0
        self.files.add(f"/{member.name}")
        return self._put(member, member.size, blocks(content))

    def delete(self, path: str) -> None:
        """Say that a file of the layers below is gone (a whiteout: OCI ``layer.md``)."""
        member = self._member(path)
        directory, _, name = member.name.rpartition("/")
        member.name = f"{directory}/.wh.{name}".lstrip("/")
        if self._is_last(member):
            self._header(member)

    def link(self, path: str, target: str) -> None:
        member = self._member(path)
        if path in self.directories:
            raise file_and_directory(path)
        member.type = tarfile.SYMTYPE
        member.linkname = target
        member.mode = 0o777
        if self._is_last(member):
            self._header(member)
        self.links |= {path, f"/{member.name}"}

    def _member(self, path: str) -> tarfile.TarInfo:
        if not path.startswith("/") or ".." in path.split("/"):
            raise LockError(f"a file of this lock would be written to {path!r}")
        if "/.wh." in path:
            raise LockError(
                f"{path} would not be a file of an image: its name means that one is deleted",
                hint="Do not build an image from this lock.",
            )
        directory, _, name = path.rpartition("/")
        self.directory(directory)
        if self._below is not None:
            path = f"{self._below.real(directory).rstrip('/')}/{name}"
        member = tarfile.TarInfo(path.lstrip("/"))
        member.mtime = self._epoch
        return member

    def directory(self, directory: str) -> None:
        """Write out *directory* and those above it, unless that was done."""
        if directory in self.directories or directory in {"/", ""}:
            return
        if directory in self.links:
            raise through_link(directory)
        self.directory(posixpath.dirname(directory))
        self.directories.add(directory)
        if self._below is None:
            name = directory.lstrip("/")
            if (directory + "/").startswith(self._own) and name not in SHARED_DIRECTORIES:
                self._header(new_directory(name, self._epoch))
            return
        real = self._below.real(directory)
        if real != directory:
            self.directory(real)
            return
        ready = self._below.ready(directory)
        if ready is not None:
            self._write(ready)
        else:
            self._header(new_directory(directory.lstrip("/"), self._epoch))

    def _header(self, member: tarfile.TarInfo) -> None:
        self._write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        if len(data) < CHUNK:
            self._buffer += data
            if len(self._buffer) >= CHUNK:
                self._flush()
        else:
            self._flush()
            self._file.write(data)

    def _flush(self) -> None:
        if self._buffer:
            self._file.write(bytes(self._buffer))
            self._buffer.clear()


def new_directory(name: str, epoch: int) -> tarfile.TarInfo:
    """The member of a directory that nobody has described."""
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    member.mode = 0o755
    member.mtime = epoch
    return member


def remove_tree(path: Path, *, keep: bool = False) -> None:
    """Remove what a failed build made; best effort.

    :param keep: the directory itself (or the link to it) was there before, and stays.
    """
    if not keep and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    for entry in list(path.iterdir()) if path.is_dir() else []:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                entry.unlink()
