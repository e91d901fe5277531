"""Files outside the environment that no system package owns: a library that somebody built, a
program that was unpacked below /opt. They are packed with the links that lead to them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from envfreeze.errors import ArtifactError
from envfreeze.model.lock import LooseEntry
from envfreeze.model.snapshot import LooseFile
from envfreeze.resolve import ldso
from envfreeze.resolve.interpreter import SHARED_DIRECTORIES
from envfreeze.resolve.pack import pack_key, pack_unowned, packed_once
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache, hash_file

_MAX_LINKS = 40


def chain(root: Root, path: str) -> list[str]:
    """The links that lead from *path* to its file, in their order, and the file.

    The directories of each are real, but for those that every root has as links (``/lib``):
    so they can be put back one after the other.
    """
    found: list[str] = []
    for _ in range(_MAX_LINKS):
        link = _first_link(root, path)
        if link is None:
            return [*found, root.real(path)]
        here, rest = link
        if here.strip("/") not in SHARED_DIRECTORIES:
            found.append(here)
        target = os.readlink(root.host(here))  # noqa: PTH115
        path = os.path.normpath(os.path.join(os.path.dirname(here), target, rest))  # noqa: PTH118, PTH120
    return found


def _first_link(root: Root, path: str) -> tuple[str, str] | None:
    """The first component of *path* that is a link, and what follows it."""
    parts = path.strip("/").split("/")
    for count in range(1, len(parts) + 1):
        here = "/" + "/".join(parts[:count])
        if os.path.islink(root.host(here)):  # noqa: PTH114
            return here, "/".join(parts[count:])
    return None


def gather(root: Root, paths: Iterable[str]) -> list[LooseFile]:
    """The files at *paths* with the links that lead to them, each once, relative to ``/``.

    :raises ArtifactError: one cannot be read.
    """
    found = {one for path in paths for one in chain(root, path)}
    return [_entry(root, path) for path in sorted(found)]


def _entry(root: Root, path: str) -> LooseFile:
    host = root.host(path)
    name = path.lstrip("/")
    try:
        status = os.lstat(host)
        if stat.S_ISLNK(status.st_mode):
            return LooseFile(name, None, 0, False, os.readlink(host))  # noqa: PTH115
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError(f"{path} is not a plain file")
        sha256, size = hash_file(host)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}") from error
    return LooseFile(name, sha256, size, bool(status.st_mode & stat.S_IXUSR), None)


def pack(root: Root, files: list[LooseFile], cache: Cache) -> str:
    """The sha256 of a tar.gz of *files* in *cache*.

    :raises ArtifactError: one changed meanwhile, or cannot be read.
    """
    rows = [(f.path, f.sha256, f.link, f.executable) for f in files]
    return packed_once(
        cache,
        pack_key("unowned", rows),
        lambda: pack_unowned(root, files, cache),
    )


def entries(files: Iterable[LooseFile]) -> list[LooseEntry]:
    """*files* as a lock has them."""
    return [
        LooseEntry(path=f.path, sha256=f.sha256, link=f.link, executable=f.executable)
        for f in files
    ]


def configuration(root: Root, paths: Iterable[str]) -> set[str]:
    """The files of the loader's configuration that name a directory of *paths*: without them
    the loader would not find the libraries again."""
    directories = {path.rpartition("/")[0] for path in paths}
    directories |= {root.real(directory) for directory in directories}
    return {file for file, directory in ldso.conf_lines(root) if directory in directories}
