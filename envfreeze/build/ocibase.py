"""What a base image has at which place: directories, links, and the package database.

A layer is laid over the others without anybody looking through links (overlayfs), so a file for
``/lib/x`` must go to ``/usr/lib/x`` where the base has ``/lib`` as a link to it; and a directory on
the way must be described as the base has it, or the engine makes one of its own in its place.

Source: the OCI image specification 1.1, ``layer.md``, for whiteouts.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from typing import IO, cast

import msgspec

from envfreeze.build import sinks
from envfreeze.build.streams import Hashed
from envfreeze.build.tree import EPOCH
from envfreeze.errors import ArtifactError, LockError, UsageError
from envfreeze.model import moved
from envfreeze.resolve import tars
from envfreeze.resolve.ociimage import Blob, Image, plain
from envfreeze.store import Cache

_KIND = "base-trees"
_LIMIT = 1 << 30
_MAX_LINKS = 40
"""What Linux follows before it gives up (path_resolution(7))."""
_KEPT_SIZE = 64 << 20
_KEPT = (
    "/etc/dpkg/",
    "/etc/ld.so.cache",
    "/etc/os-release",
    "/usr/lib/os-release",
    "/var/lib/dpkg/",
)


class Directory(msgspec.Struct, frozen=True, array_like=True):
    """A directory: what programs may do in it. Its time is left out, or a layer would be another
    one for each release of the base."""

    mode: int
    uid: int
    gid: int


PERMISSIONS = 0o7777
"""The bits of a member's mode that count: some engines write the kind of file there, too."""


def directory_of(member: tarfile.TarInfo) -> Directory:
    """What a layer's member says of a directory."""
    return Directory(member.mode & PERMISSIONS, member.uid, member.gid)


class BaseTree(msgspec.Struct):
    """The paths of a base image, each absolute and without links in its directories."""

    directories: dict[str, Directory] = {}
    links: dict[str, str] = {}
    files: set[str] = set()
    kept: dict[str, bytes] = {}
    """The content of the files that tell which system and which packages it has."""

    def real(self, directory: str) -> str:
        """*directory* with every link of the base followed.

        :raises LockError: it leads in a circle.
        """
        return self._follow(directory, _MAX_LINKS)

    def _follow(self, path: str, budget: int) -> str:
        done = ""
        parts = [part for part in path.split("/") if part and part != "."]
        while parts:
            part = parts.pop(0)
            if part == "..":
                done = posixpath.dirname(done) if done != "/" else done
                continue
            here = f"{done.rstrip('/')}/{part}"
            target = self.links.get(here)
            if target is None:
                done = here
                continue
            budget -= 1
            if budget < 0:
                raise LockError(f"{path} leads through links of the base image in a circle")
            parts = [one for one in target.split("/") if one and one != "."] + parts
            done = "" if target.startswith("/") else done
        return done or "/"

    def ready(self, directory: str) -> bytes | None:
        """The header of a directory that is there; None: it is not."""
        found = self.directories.get(directory)
        if found is None:
            return None
        member = sinks.new_directory(directory.lstrip("/"), EPOCH)
        member.mode, member.uid, member.gid = found.mode, found.uid, found.gid
        return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")

    def text(self, path: str) -> str:
        """A file that was kept; empty: there is none."""
        return self.data(path).decode("utf-8", "surrogateescape")

    def data(self, path: str) -> bytes:
        """The same, as it is."""
        real = self.real(posixpath.dirname(path)).rstrip("/") + "/" + posixpath.basename(path)
        with contextlib.suppress(LockError):
            real = self.real(real)
        return self.kept.get(real, b"")

    def digest(self, roots: Iterable[str]) -> str:
        """sha256 over what is there above, at and below *roots*: what a layer depends on."""
        wanted = sorted(set(roots))
        above = {"/"}
        for root in wanted:
            while root not in above:
                above.add(root)
                root = posixpath.dirname(root)
        below = tuple(f"{root.rstrip('/')}/" for root in wanted)

        def counts(path: str) -> bool:
            return path in above or path.startswith(below)

        rows = [
            sorted(
                (p, msgspec.structs.astuple(d)) for p, d in self.directories.items() if counts(p)
            ),
            sorted((p, t) for p, t in self.links.items() if counts(p)),
        ]
        return hashlib.sha256(msgspec.json.encode(_spelt(rows))).hexdigest()


def _spelt(value: object) -> object:
    """Paths that are no UTF-8 as something that JSON can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    if isinstance(value, (list, tuple)):
        return [_spelt(one) for one in value]
    return value


def check_room(below: BaseTree, directory: str, base: str) -> None:
    """Whether the base has nothing at *directory*, so that an environment may be placed there.

    :raises UsageError: it has.
    """
    real = below.real(directory)
    moved.check_prefix(real)

    def is_in_the_way(path: str) -> bool:
        return path.startswith(f"{real}/") or f"{real}/".startswith(f"{path}/")

    there = next(filter(is_in_the_way, sorted({*below.files, *below.links})), "")
    if there:
        raise UsageError(
            f"--prefix {directory}: the base image {base} has {there}",
            hint="Name a directory that it does not have.",
        )


def look(image: Image, cache: Cache) -> BaseTree:
    """What is in the base image, its layers laid over each other.

    What an earlier look found of the lower layers is not looked at again.

    :raises ArtifactError: a layer cannot be read, or is not what its digests say.
    """
    tree, known = BaseTree(), 0
    for count in range(len(image.diff_ids), 0, -1):
        found = _remembered(image.diff_ids[:count], cache)
        if found is not None:
            tree, known = found, count
            break
    if known == len(image.diff_ids):
        return tree
    for blob, diff_id in zip(image.layers[known:], image.diff_ids[known:], strict=True):
        _lay(tree, blob, diff_id)
    with contextlib.suppress(UnicodeError):
        packed = zlib.compress(msgspec.msgpack.encode(tree), 1)
        cache.write_note(_KIND, _key(image.diff_ids), packed)
    return tree


def is_known(diff_ids: Sequence[str], cache: Cache) -> bool:
    """Whether these layers have been looked at, so that their bytes are not needed."""
    return cache.has_note(_KIND, _key(diff_ids))


def _key(diff_ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(["4", *diff_ids]).encode()).hexdigest()


def _remembered(diff_ids: Sequence[str], cache: Cache) -> BaseTree | None:
    note = cache.read_note(_KIND, _key(diff_ids))
    if note is not None:
        with contextlib.suppress(zlib.error, msgspec.MsgspecError, UnicodeError):
            data = zlib.decompressobj().decompress(note, _LIMIT)
            return msgspec.msgpack.decode(data, type=BaseTree)
    return None


def _lay(tree: BaseTree, blob: Blob, diff_id: str) -> None:
    """Lay one more layer over *tree*."""
    what = f"the base image's layer {blob.descriptor.digest}"
    try:
        with blob.open() as packed:
            stream = plain(packed, blob.descriptor.media_type)
            hashing = Hashed(stream)
            above = _Above(tree)
            for member, content in tars.members(cast("IO[bytes]", hashing)):
                above.add(member, content)
            while hashing.read(1 << 20):
                pass
    except (OSError, *tars.DAMAGE) as error:
        raise ArtifactError(f"{what} cannot be read: {error}") from error
    if f"sha256:{hashing.sha256}" != diff_id:
        raise ArtifactError(f"{what} does not unpack to what its configuration names")


class _Above:
    """A layer on its way onto a tree. Whiteouts hide what lies below, never the layer's own."""

    def __init__(self, tree: BaseTree) -> None:
        self._tree = tree
        self._own: set[str] = set()

    def add(self, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        path = posixpath.normpath("/" + member.name.lstrip("/"))
        if path == "/" or path.startswith("//"):
            return
        directory, _, name = path.rpartition("/")
        if name == ".wh..wh..opq":
            self._hide(directory, itself=False)
        elif name.startswith(".wh."):
            self._hide(f"{directory}/{name.removeprefix('.wh.')}", itself=True)
        else:
            self._put(path, member, content)

    def _put(self, path: str, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        tree = self._tree
        if not member.isdir():
            if path in tree.directories:
                self._hide(path, itself=True)
            tree.directories.pop(path, None)
        tree.links.pop(path, None)
        tree.files.discard(path)
        tree.kept.pop(path, None)
        self._own.add(path)
        if member.isdir():
            tree.directories[path] = directory_of(member)
        elif member.issym():
            tree.links[path] = member.linkname
        else:
            tree.files.add(path)
            if content is not None and path.startswith(_KEPT) and member.size <= _KEPT_SIZE:
                tree.kept[path] = tars.read(content, _KEPT_SIZE)

    def _hide(self, path: str, *, itself: bool) -> None:
        head = path.rstrip("/") + "/"
        for known in (self._tree.directories, self._tree.links, self._tree.kept):
            for each in [one for one in known if _hidden(one, path, head, itself)]:
                if each not in self._own:
                    del known[each]
        gone = {one for one in self._tree.files if _hidden(one, path, head, itself)}
        self._tree.files -= gone - self._own


def _hidden(path: str, hidden: str, head: str, itself: bool) -> bool:
    return path.startswith(head) or (itself and path == hidden)
