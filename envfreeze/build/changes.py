"""What running something has left in a tar of files, without its accidents.

Logs, caches, backups, what an engine itself puts into a container, bytecode, and the times of what
was written just now: these differ each time, and nothing else does. So the same work gives the
same layer.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Collection
from pathlib import Path

from envfreeze.build import sinks, tree
from envfreeze.build.ocibase import PERMISSIONS, BaseTree, directory_of
from envfreeze.errors import EngineError
from envfreeze.resolve import ociimage, tars

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
_LOCKS = "/run/lock"
"""Where /var/lock leads; a container has no init that would make it."""
_MACHINE_ID = "/etc/machine-id"
"""One for all containers is worse than none: machine-id(5) says to ship it empty."""
_CAPABILITY = "SCHILY.xattr.security.capability"


class Changes:
    """The files of a tar, read without their accidents."""

    def __init__(self, layer: Path, began: int, without: Collection[str] = ()) -> None:
        """
        :param began: seconds since 1970, by the engine's clock: what is newer was written in it.
        :param without: absolute paths of what else is left out.
        :raises EngineError: it is no tar.
        """
        self._path = layer
        self._began = began
        self._changed: set[str] = set()
        try:
            with self._path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
                members = archive.getmembers()
        except (OSError, *tars.DAMAGE) as error:
            raise EngineError(f"what was run left files that cannot be read: {error}") from error
        found = {posixpath.normpath("/" + member.name): member for member in members}
        kept = {p: m for p, m in found.items() if not _is_dropped(p) and p not in without}
        self._members = dict(sorted(kept.items()))

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

    def put(self, sink: sinks.TarSink, below: BaseTree) -> None:
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
        self, sink: sinks.TarSink, path: str, member: tarfile.TarInfo, first: dict[str, str]
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
    if path == _LOCKS:
        return False
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
