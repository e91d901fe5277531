"""The files of a container, which come as a tar, laid out in a directory: a :class:`Root` of them.

The tar is an enemy's, for all we know. A member goes only below directories that were made here,
never through a link; links are made and not followed; devices, sockets and the kernel's own
directories are left out. What reads the files afterwards resolves links inside the root.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from envfreeze.errors import ArtifactError
from envfreeze.resolve import tars
from envfreeze.store import CHUNK

_KERNELS = frozenset({"proc", "sys", "dev"})


def lay_out(chunks: Iterable[bytes], into: Path, path: str = "/") -> None:
    """Write the members of a tar below *into*.

    :param path: what the tar is of, links resolved; what lay there before goes.
    :raises ArtifactError: it is no tar.
    """
    place = _Place(into)
    below = path.rpartition("/")[0]
    if _parts(path):
        place.clear(_parts(path))
    with contextlib.closing(_Stream(chunks)) as stream:
        try:
            for member, content in tars.members(
                cast("IO[bytes]", io.BufferedReader(stream, CHUNK))
            ):
                parts = [*_parts(below), *_parts(member.name)]
                if not parts or ".." in parts or parts[0] in _KERNELS:
                    continue
                if member.isdir():
                    place.directory(parts)
                    place.mark(parts, member)
                elif member.issym():
                    place.link(parts, member.linkname)
                elif member.islnk():
                    place.same(parts, [*_parts(below), *_parts(member.linkname)])
                elif content is not None:
                    place.file(parts, content)
                    place.mark(parts, member)
        except tars.DAMAGE as error:
            raise ArtifactError(
                f"the engine's archive of the files cannot be read: {error}", hint="Try again."
            ) from error


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


class _Place:
    """A directory that is filled."""

    def __init__(self, into: Path) -> None:
        self._into = str(into)
        self._directories: set[str] = {self._into}

    def _path(self, parts: list[str]) -> str:
        return "/".join([self._into, *parts])

    def directory(self, parts: list[str]) -> None:
        """Make a directory and those above it; what is there and is none goes."""
        for count in range(1, len(parts) + 1):
            path = self._path(parts[:count])
            if path in self._directories:
                continue
            if os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH114, PTH112
                self._clear(path)
                os.mkdir(path, 0o700)  # noqa: PTH102 - thousands of them
            self._directories.add(path)

    def clear(self, parts: list[str]) -> None:
        """What lies there goes; the directories above it are there then."""
        self.directory(parts[:-1])
        self._clear(self._path(parts))

    def _clear(self, path: str) -> None:
        """What lies at *path* goes."""
        if os.path.islink(path) or not os.path.isdir(path):  # noqa: PTH114, PTH112
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108
            return
        shutil.rmtree(path)
        head = f"{path}/"
        self._directories = {
            one for one in self._directories if one != path and not one.startswith(head)
        }

    def _new(self, parts: list[str]) -> str:
        """A path where nothing lies, below directories of ours."""
        self.directory(parts[:-1])
        path = self._path(parts)
        if os.path.lexists(path):
            self._clear(path)
        return path

    def link(self, parts: list[str], target: str) -> None:
        if target and "\0" not in target:
            os.symlink(target, self._new(parts))  # noqa: PTH211

    def same(self, parts: list[str], other: list[str]) -> None:
        """A further name of a file of ours."""
        source = self._path(other)
        if ".." in other or parts == other or not self._is_own_file(other, source):
            return
        os.link(source, self._new(parts), follow_symlinks=False)

    def _is_own_file(self, parts: list[str], path: str) -> bool:
        above = self._path(parts[:-1])
        return (
            bool(parts)
            and above in self._directories
            and (os.path.isfile(path) or os.path.islink(path))  # noqa: PTH113, PTH114
        )

    def file(self, parts: list[str], content: IO[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._new(parts), flags, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            shutil.copyfileobj(content, out, CHUNK)

    def mark(self, parts: list[str], member: tarfile.TarInfo) -> None:
        """Whose a file or directory just made is, and its mode: packages are packed with them.

        We must be able to read it, and nobody else gets here: the directory above all is ours.
        """
        path = self._path(parts)
        mine = 0o700 if member.isdir() else 0o600
        if os.geteuid() == 0:
            with contextlib.suppress(OSError, OverflowError):
                os.chown(path, member.uid, member.gid, follow_symlinks=False)
        os.chmod(path, member.mode & 0o7777 | mine)  # noqa: PTH101


class _Stream(io.RawIOBase):
    """Chunks as a file that is read forwards."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
