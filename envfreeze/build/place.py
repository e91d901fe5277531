"""Put the locked packages at their places: wheels in, files out, no resolver asked.

``installer`` (pypa/installer) reads the wheels and decides what goes where; the files go
into a :class:`Sink`, which is a directory on this machine or a tar that becomes a layer of
an image. So a venv and an image are placed by the same code.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import csv
import errno
import gzip
import hashlib
import io
import itertools
import os
import posixpath
import re
import shlex
import shutil
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Protocol, cast

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, InvalidRecordEntry, RecordEntry
from installer.scripts import Script
from installer.sources import WheelContentElement, WheelSource
from installer.utils import Scheme, construct_record_file

from envfreeze.build.patches import Patches
from envfreeze.errors import ArtifactError, LockError
from envfreeze.model.identity import normalize, source_digest
from envfreeze.model.lock import (
    LooseEntry,
    LooseSite,
    Package,
    PackageFacts,
    SourceTree,
    is_inside,
)
from envfreeze.probe import pointers
from envfreeze.resolve import tars, zips
from envfreeze.resolve.compare import gives_bit
from envfreeze.resolve.interpreter import SHARED_DIRECTORIES
from envfreeze.resolve.pack import is_made_up
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
            return copy_hashed(cast("IO[bytes]", _Joined(io.BytesIO(head), stream)), None)
        if len(head) <= _INLINE:
            return self._put(member, len(head), [head])
        if isinstance(size, int):
            return self._put(member, size, itertools.chain([head], _blocks(stream)))
        with tempfile.TemporaryFile() as spool:
            spool.write(head)
            shutil.copyfileobj(stream, spool, CHUNK)
            size = spool.tell()
            spool.seek(0)
            return self._put(member, size, _blocks(spool))

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
        return self._put(member, member.size, _blocks(content))

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


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(CHUNK):
        yield block


def copy_hashed(stream: IO[bytes], out: Any) -> tuple[str, int]:
    """Copy to *out* (None: nowhere); the sha256 and size of what went by."""
    digest = hashlib.sha256()
    size = 0
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
        if out is not None:
            out.write(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


@dataclass(frozen=True, slots=True, kw_only=True)
class Schemes:
    """The directories of the finished environment, absolute, and the python its scripts name."""

    site: str
    scripts: str
    headers: str
    data: str
    python: str
    sources: Mapping[str, str] = field(default_factory=dict)
    """Key of each source tree to the directory that it comes back in."""

    def of(self, name: str) -> dict[str, str]:
        """The installation scheme of the distribution *name* (sysconfig's names)."""
        return {
            "purelib": self.site,
            "platlib": self.site,
            "scripts": self.scripts,
            "data": self.data,
            "headers": posixpath.join(self.headers, name),
        }


@dataclass
class Placement(WheelDestination):
    """One package on its way into a sink (the second port of ``installer``)."""

    sink: Sink
    package: Package
    schemes: dict[str, str]
    where: Schemes
    patches: Patches
    unheld: list[tuple[Scheme, str, str]] = field(default_factory=list)
    """``(scheme, path, sha256 as in RECORD)`` that the wheel names and does not hold."""
    _wrappers: set[str] = field(default_factory=set)
    _copies: list[RecordEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        roots = {**self.schemes, "site": self.schemes["purelib"]}
        keys = [key.partition("/") for key in self.package.facts.yields]
        self._yielded = {
            posixpath.join(roots[scheme], path) for scheme, _, path in keys if scheme in roots
        }
        pointing = [key.partition("/") for key in self.package.facts.pointers]
        self._pointers = {posixpath.join(roots[scheme], path): path for scheme, _, path in pointing}
        edited = [(key, *key.split("/", 1)) for key in self.patches.keys]
        places = {posixpath.join(roots[scheme], path): key for key, scheme, path in edited}
        modes = {place for place, key in places.items() if self.patches[key].kind == "mode"}
        self._modes = {place: key for place, key in places.items() if place in modes}
        self._edited = {place: key for place, key in places.items() if place not in modes}

    def _path(self, scheme: str, path: str) -> str:
        root = self.schemes[scheme].rstrip("/")
        full = posixpath.normpath(posixpath.join(root, path))
        if not full.startswith(root + "/"):
            raise LockError(
                f"{self.package.name}: its file {path!r} leads out of {root}",
                hint="Do not build from this lock.",
            )
        return full

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        name = os.fspath(path)
        target = self._path(scheme, name)
        content: Any = stream
        if scheme == "scripts" and name in self._wrappers:
            return RecordEntry(name, None, None)
        if target in self._edited:
            return self._put_edited(scheme, name, target, stream)
        if scheme == "scripts":
            content = _with_shebang(stream, self.where.python, keep=self._keeps_arguments())
        if target in self._pointers:
            content = with_sources(self._pointers[target], stream.read(), self.where.sources)
        if target in self._yielded:
            return _entry(name, *copy_hashed(content, None))
        return self._put(name, target, content, is_executable)

    def _put_edited(self, scheme: Scheme, name: str, target: str, stream: BinaryIO) -> RecordEntry:
        """What was made of the file goes in; RECORD goes on naming what the wheel brought, as
        it did where it was captured."""
        keep = self._keeps_arguments()
        python = self.where.python
        original = _with_shebang(stream, python, keep=keep) if scheme == "scripts" else stream
        entry = _entry(name, *copy_hashed(original, None))
        stream.seek(0)
        key = self._edited[target]
        patched = self.patches.patched(key, stream)
        if patched is not None:
            with patched:
                content: Any = patched
                if key.startswith("scripts/"):
                    content = _with_shebang(cast("BinaryIO", patched), python, keep=True)
                self.sink.put(target, content, executable=self.patches[key].executable)
        return entry

    def _keeps_arguments(self) -> bool:
        """pip and ``installer`` replace the whole first line of a script; uv keeps what follows
        ``#!python``, and a packed script is kept as it was."""
        facts = self.package.facts
        return facts.proof == "packed" or (facts.installer or "").startswith("uv")

    def _put(self, name: str, target: str, stream: Any, executable: bool) -> RecordEntry:
        if target in self._modes:
            executable = self.patches.mode(self._modes[target])
        return _entry(name, *self.sink.put(target, stream, executable=executable))

    def write_script(self, name: str, module: str, attr: str, section: Any) -> RecordEntry:
        script, text = Script(name, module, attr, section).generate("/python", "posix")
        data = shebang(self.where.python) + text.removeprefix(b"#!/python")
        self._wrappers.add(script)
        entry = RecordEntry(script, None, None)
        if name not in self.package.facts.no_wrappers:
            entry = self._put(script, self._path("scripts", script), io.BytesIO(data), True)
        for copy in self.package.facts.wrapper_copies.get(name, []):
            self._wrappers.add(copy)
            target = self._path("scripts", copy)
            self._copies.append(self._put(copy, target, io.BytesIO(data), True))
        return entry

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        def prefix(other: str) -> str | None:
            if self.schemes[other] == self.schemes[scheme]:
                return None
            return posixpath.relpath(self.schemes[other], self.schemes[scheme]) + "/"

        rows = {
            (self._path(where, row.path)): (where, row)
            for where, row in records
            if row.hash_ is not None or row.path == record_file_path
        }
        for row in self._copies:
            rows[self._path("scripts", row.path)] = (Scheme("scripts"), row)
        for where, path, claim in self.unheld:
            target = self._path(where, path)
            if target in self._yielded:
                rows[target] = (where, RecordEntry(path, Hash("sha256", claim), None))
        with construct_record_file(rows.values(), prefix) as stream:
            self._put(record_file_path, self._path(scheme, record_file_path), stream, False)


def _entry(name: str, sha256: str, size: int) -> RecordEntry:
    text = base64.urlsafe_b64encode(bytes.fromhex(sha256)).rstrip(b"=").decode("ascii")
    return RecordEntry(name, Hash("sha256", text), size)


_SHEBANG = b"#!python"
_LINE = 1 << 13


class _Joined:
    """Streams, read one after the other."""

    def __init__(self, *parts: Any) -> None:
        self._parts = list(parts)

    def read(self, size: int) -> bytes:
        while self._parts:
            if data := self._parts[0].read(size):
                return cast("bytes", data)
            del self._parts[0]
        return b""


class _Hashed:
    """A stream, and the digest of what was read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _with_shebang(stream: BinaryIO, python: str, *, keep: bool) -> Any:
    """A wheel's script with *python* in the place of ``#!python``.

    :param keep: with the arguments that follow it.
    """
    line = stream.readline(_LINE)
    if not line.startswith(_SHEBANG) or not (line.endswith(b"\n") or len(line) < _LINE):
        stream.seek(0)
        return stream
    rest = line[len(_SHEBANG) :].removeprefix(b"w")
    arguments = rest.strip() if keep and rest[:1].isspace() else b""
    end = b"\r\n" if keep and rest.endswith(b"\r\n") else b"\n" if b"\n" in rest else b""
    return _Joined(io.BytesIO(shebang(python, arguments) + end), stream)


def shebang(python: str, arguments: bytes = b"") -> bytes:
    """The first line of a script; three lines of shell where the kernel would not take the path.

    Source: distlib's ``scripts.py``, as ``installer`` and uv have it too.
    """
    path = os.fsencode(python)
    tail = b" " + arguments if arguments else b""
    if not re.search(rb"\s", path) and len(path) + len(tail) + 3 <= 127:
        return b"#!" + path + tail
    quoted = os.fsencode(shlex.quote(python))
    return b"#!/bin/sh\n'''exec' " + quoted + tail + b' "$0" "$@"\n' + b"' '''"


_RESTORED = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
"""What the lock says of a metadata directory: never taken from a wheel."""


_SMALL = 4 << 20
"""Bytes of WHEEL and entry_points.txt, which are read whole."""
RECORD_LIMIT = 64 << 20


class _Source(WheelSource):
    """A wheel, its metadata directory called as it was where it was installed.

    Its RECORD is not needed: the wheel's own sha256 was checked, and what is placed is hashed.
    """

    def __init__(self, archive: zipfile.ZipFile, facts: PackageFacts) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self._info = facts.info
        self._installer = facts.installer
        self._spelt = self._spelling()
        name, _, version = facts.info.removesuffix(".dist-info").rpartition("-")
        super().__init__(name, version)

    def _spelling(self) -> str:
        """The metadata directory as the wheel spells it: it need not be as it is installed."""
        if f"{self._info}/METADATA" in self._names:
            return self._info
        heads = {name.partition("/")[0] for name in self._names if name.count("/") == 1}
        wanted = normalize(self._info)
        found = [h for h in sorted(heads) if h.endswith(".dist-info") and normalize(h) == wanted]
        return found[0] if len(found) == 1 else self._info

    @property
    def dist_info_dir(self) -> str:
        return self._info

    @property
    def data_dir(self) -> str:
        return self._info.removesuffix(".dist-info") + ".data"

    @property
    def dist_info_filenames(self) -> list[str]:
        head = self._spelt + "/"
        return [name.removeprefix(head) for name in self._names if name.startswith(head)]

    def read_dist_info(self, filename: str) -> str:
        if filename == "WHEEL":
            return self._wheel()
        text = self._read(f"{self._spelt}/{filename}").decode("utf-8")
        return _scripts_only(text) if filename == "entry_points.txt" else text

    def _read(self, name: str, limit: int = _SMALL) -> bytes:
        return zips.read(self._archive, name, limit)

    def _wheel(self) -> str:
        """What ``installer`` asks of WHEEL. purelib and platlib are one directory here."""
        name = f"{self._spelt}/WHEEL"
        text = self._read(name).decode("utf-8", "replace") if name in self._names else ""
        version = re.search(r"^Wheel-Version:\s*(\d+)", text, re.MULTILINE | re.IGNORECASE)
        if version is not None and version[1] != "1":
            raise ArtifactError(f"it is a wheel of version {version[1]}; only 1 is known")
        return "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"

    def validate_record(self, *, validate_contents: bool = True) -> None:
        """Nothing to do: see the class."""

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Without ``__pycache__``: some wheels carry it, and it is made anew at any time."""
        for member in self._archive.infolist():
            path = self._as_installed(member.filename)
            if path is None or "__pycache__" in path.split("/")[:-1]:
                continue
            if path.startswith(self.data_dir) and not re.match(
                re.escape(self.data_dir) + r"/[^/]+/+[^/]", path
            ):
                # ``installer`` looks for the scheme in it without end, or finds no file.
                raise ArtifactError(
                    f"{member.filename!r} is not contained in a valid scheme of data"
                )
            mode = member.external_attr >> 16
            with self._open(member) as stream:
                # Its size is known before it is read: zipfile reads no more than that.
                stream.whole_size = member.file_size  # type: ignore[attr-defined]
                script = path.startswith(f"{self.data_dir}/scripts/")
                executable = gives_bit(mode, script=script, installer=self._installer)
                yield (path, "", ""), cast("BinaryIO", stream), executable

    def _open(self, member: zipfile.ZipInfo) -> IO[bytes]:
        try:
            return self._archive.open(member)
        except OSError as error:
            raise ArtifactError(f"{member.filename!r} is damaged: {error}") from error

    def _as_installed(self, name: str) -> str | None:
        """Where a member goes, in the spelling of the installed metadata; None: nowhere."""
        head, mark, rest = name.partition("/")
        if name.endswith("/"):
            return None
        if head == self._spelt and mark:
            if rest in _RESTORED or (rest == "WHEEL" and is_made_up(self._read(name))):
                return None
            return f"{self._info}/{rest}"
        if head == self._spelt.removesuffix(".dist-info") + ".data" and mark:
            return f"{self.data_dir}/{rest}"
        return name

    def unheld(self) -> Iterator[tuple[Scheme, str, str]]:
        """What RECORD names, with a sha256, and the wheel does not hold: a packed wheel leaves
        out what another distribution overwrote."""
        name = f"{self._spelt}/RECORD"
        if name not in self._names:
            return
        content = io.BytesIO(self._read(name, RECORD_LIMIT))
        for row in csv.reader(io.TextIOWrapper(content, "utf-8", newline="")):
            if len(row) < 2 or row[0] in self._names or not row[1].startswith("sha256="):
                continue
            path = self._as_installed(row[0])
            head, _, rest = (path or "").partition("/")
            if head == self.data_dir:
                scheme, _, rest = rest.partition("/")
                if scheme in {"scripts", "headers", "data", "purelib", "platlib"}:
                    yield Scheme(scheme), rest, row[1].removeprefix("sha256=")
            elif path:
                yield Scheme("purelib"), path, row[1].removeprefix("sha256=")


def _scripts_only(text: str) -> str:
    """entry_points.txt as ``installer``'s parser takes it: importlib.metadata reads it more
    leniently (a name may come twice, ``%`` is a letter), and so do pip and uv."""
    found: dict[str, dict[str, str]] = {"console_scripts": {}, "gui_scripts": {}}
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section in found and "=" in line and line[0] not in "#;":
            name, _, value = line.partition("=")
            found[section][name.strip()] = value.strip().replace("%", "%%")
    return "".join(
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
        for section, names in found.items()
    )


_DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    InstallerError,
    InvalidRecordEntry,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    configparser.Error,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile and ``installer`` raise at a wheel that is none."""


def place_package(
    package: Package, wheel: Path, sink: Sink, schemes: Schemes, patch: Path | None = None
) -> None:
    """Place one package from its (already hash-checked) wheel.

    INSTALLER, REQUESTED and direct_url.json come back as they were.

    :raises ArtifactError: the wheel is damaged or malformed.
    :raises LockError: it would write outside the environment.
    """
    facts = package.facts
    if not re.fullmatch(r"[^/\x00-\x1f\x7f]+\.dist-info", facts.info):
        raise LockError(
            f"{package.name}: {facts.info!r} is not the name of a metadata directory",
            hint="Do not build from this lock.",
        )
    extra = {}
    if facts.installer is not None:
        extra["INSTALLER"] = facts.installer.encode()
    if facts.requested:
        extra["REQUESTED"] = b""
    if facts.direct_url is not None:
        text = with_sources(
            f"{facts.info}/direct_url.json", facts.direct_url.encode(), schemes.sources
        )
        extra["direct_url.json"] = text.read()
    name = facts.info.removesuffix(".dist-info").partition("-")[0] or normalize(package.name)
    try:
        with (
            zips.open_zip(wheel) as archive,
            Patches(facts.edits, patch) as patches,
        ):
            source = _Source(archive, facts)
            placement = Placement(
                sink, package, schemes.of(name), schemes, patches, list(source.unheld())
            )
            install(source, placement, extra)
    except LockError:
        raise
    except (ArtifactError, *_DAMAGE) as error:
        cause = (
            str(error) if isinstance(error, ArtifactError) else f"{type(error).__name__}: {error}"
        )
        raise ArtifactError(
            f"{package.artifact.filename} cannot be placed: {cause}",
            hint="It has the bytes that the lock names: the lock or the wheel is at fault.",
        ) from error


def patch_of(package: Package, files: Mapping[str, Path]) -> Path | None:
    """The archive of the edits of *package* among the fetched *files*."""
    patch = package.facts.patch
    return None if patch is None else files[patch.sha256]


def with_sources(path: str, data: bytes, sources: Mapping[str, str]) -> io.BytesIO:
    """*data* of the file at *path*, the places of source trees in it spelt out."""
    return io.BytesIO(pointers.placed(path, data, sources))


def place_loose(
    site: LooseSite,
    archive: Path,
    sink: Sink,
    schemes: Schemes,
    others: Collection[str] = frozenset(),
) -> None:
    """Put back the unowned files of a site directory; links last, so none is written through.

    :param others: paths in the archive that belong elsewhere.
    :raises LockError: a member is not one the lock names, or leads out of the directory.
    :raises ArtifactError: a member is missing, or its bytes are not those that the lock names.
    """
    _check_loose(site)
    directory = schemes.scripts if site.scheme == "scripts" else schemes.site
    wanted = {entry.path: entry for entry in site.files if entry.link is None}
    links = {entry.path: entry.link for entry in site.files if entry.link is not None}
    unmet = set(links)
    with _whole(archive):
        for member, stream in _members(archive):
            if member.name in others:
                continue
            if member.name in unmet and stream is None:
                unmet.remove(member.name)
                continue
            entry = wanted.pop(member.name, None)
            if entry is None or stream is None:
                raise LockError(
                    f"{archive.name} holds {member.name!r}, which the lock does not name"
                )
            path = posixpath.join(directory, entry.path)
            kept = _Hashed(stream)
            sink.put(path, _as_placed(site, entry, kept, schemes), executable=entry.executable)
            _check_sha256(entry, kept.sha256, archive.name)
    if wanted:
        raise ArtifactError(f"{archive.name} lacks {min(wanted)!r}, which the lock names")
    for path, target in sorted(links.items()):
        text = pointers.placed_link(str(target), schemes.sources)
        sink.link(posixpath.join(directory, path), text)


def _check_sha256(entry: LooseEntry, sha256: str, where: str) -> None:
    if sha256 != entry.sha256:
        raise ArtifactError(
            f"{entry.path} in {where} is not what the lock names\n"
            f"expected sha256 {entry.sha256}\n     got sha256 {sha256}"
        )


def _as_placed(site: LooseSite, entry: LooseEntry, kept: _Hashed, schemes: Schemes) -> Any:
    """What is placed of an unowned file; it reads all of *kept*."""
    if site.scheme == "scripts":
        head = kept.read(_LINE)
        return _Joined(_with_shebang(io.BytesIO(head), schemes.python, keep=True), kept)
    if not pointers.is_pointer(entry.path):
        return kept
    data = tars.read(cast("IO[bytes]", kept), pointers.LIMIT)
    if len(data) > pointers.LIMIT:
        return _Joined(io.BytesIO(data), kept)
    return with_sources(entry.path, data, schemes.sources)


def _members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each file of a tar.gz with its content, each link with None.

    :raises LockError: there is something else in it.
    """
    with gzip.open(archive) as packed:
        for member, stream in tars.members(cast("IO[bytes]", packed)):
            if stream is None and not member.issym():
                raise LockError(
                    f"{archive.name} holds {member.name!r}, which is no file and no link"
                )
            yield member, stream


@contextlib.contextmanager
def _whole(archive: Path) -> Iterator[None]:
    """:raises ArtifactError: the tar.gz that is read in this block is damaged."""
    try:
        yield
    except tars.DAMAGE as error:
        raise ArtifactError(f"{archive.name} is not a whole tar.gz: {error}") from error


def place_source(source: SourceTree, archive: Path, sink: Sink, places: Mapping[str, str]) -> None:
    """Put back a source tree; links last, so none is written through.

    :param places: as :attr:`Schemes.sources`.
    :raises LockError: a member leads out of the directory.
    :raises ArtifactError: the files are not those that the lock's digest is of.
    """
    directory = places[source.key]
    links: dict[str, str] = {}
    files: dict[str, str] = {}
    with _whole(archive):
        for member, stream in _members(archive):
            path = member.name
            if not is_inside(path) or posixpath.normpath(path) != path or path in {*links, *files}:
                raise LockError(
                    f"{archive.name} holds {path!r}, which has no place in {directory}",
                    hint="Do not build from this lock.",
                )
            if stream is None:
                links[path] = member.linkname
                continue
            executable = bool(member.mode & 0o111)
            sha256, _ = sink.put(posixpath.join(directory, path), stream, executable=executable)
            files[path] = sha256 + (" executable" if executable else "")
    _check_behind_links([*links, *files], links, archive.name)
    named = [*files.items(), *((path, f"-> {target}") for path, target in links.items())]
    if source_digest(named) != source.digest:
        raise ArtifactError(
            f"{archive.name} does not hold the files of {source.root} that the lock names",
            hint="Capture again, or restore the directory beside the lock.",
        )
    if not files:
        sink.directory(directory)
    for path, target in sorted(links.items()):
        sink.link(posixpath.join(directory, path), pointers.placed_link(target, places))


def _check_behind_links(paths: Iterable[str], links: Collection[str], where: str) -> None:
    for path in paths:
        above = {parent.as_posix() for parent in PurePosixPath(path).parents}
        if not above.isdisjoint(links):
            raise LockError(
                f"{where}: {path!r} lies behind a link", hint="Do not build from this lock."
            )


def _check_loose(site: LooseSite) -> None:
    """Every path is below the site directory, and none leads through a link."""
    links = {entry.path for entry in site.files if entry.link is not None}
    for entry in site.files:
        above = [parent.as_posix() for parent in PurePosixPath(entry.path).parents]
        if not is_inside(entry.path) or posixpath.normpath(entry.path) != entry.path:
            raise LockError(
                f"the unowned file {entry.path!r} leads out of {site.site}",
                hint="Do not build from this lock.",
            )
        if not links.isdisjoint(above):
            raise LockError(
                f"the unowned file {entry.path!r} lies behind a link of this lock",
                hint="Do not build from this lock.",
            )


def place_parallel(
    packages: list[tuple[Package, Schemes]],
    wheels: Mapping[str, Path],
    sink: Sink,
    done: Callable[[int], None],
) -> None:
    """Place packages, each where it belongs, with a thread for each processor: inflating
    releases the lock."""
    stop = threading.Event()

    def one(package: Package, schemes: Schemes) -> None:
        if stop.is_set():
            return
        try:
            wheel, patch = wheels[package.artifact.sha256], patch_of(package, wheels)
            place_package(package, wheel, sink, schemes, patch)
        except BaseException:
            stop.set()
            raise
        done(1)

    largest_first = sorted(packages, key=lambda item: -item[0].artifact.size)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(one, *item) for item in largest_first]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


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
