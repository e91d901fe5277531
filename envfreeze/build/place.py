"""Put the locked packages at their places: wheels in, files out, no resolver asked.

``installer`` (pypa/installer) reads the wheels and decides what goes where; the files go
into a :class:`Sink`, which is a directory on this machine or a tar that becomes a layer of
an image. So a venv and an image are placed by the same code.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import posixpath
import shutil
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

from installer import install
from installer.destinations import WheelDestination
from installer.records import Hash, RecordEntry
from installer.scripts import Script
from installer.sources import WheelContentElement, WheelFile
from installer.utils import Scheme, construct_record_file, fix_shebang

from envfreeze.errors import ArtifactError, LockError
from envfreeze.model.identity import normalize
from envfreeze.model.lock import LooseSite, Package, is_inside
from envfreeze.store import CHUNK, disk_errors

SPOOL = 64 << 20


class Sink(Protocol):
    """Where files go. Paths are absolute, as the finished environment will see them."""

    def put(self, path: str, stream: IO[bytes], *, executable: bool) -> tuple[str, int]:
        """Write a file; its sha256 (hex) and its size."""

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link."""


@dataclass(frozen=True, slots=True)
class DirectorySink:
    """Files on this machine, below *root* only."""

    root: Path

    def put(self, path: str, stream: IO[bytes], *, executable: bool) -> tuple[str, int]:
        target = Path(path)
        self._check(target)
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                result = _copy(stream, file)
            if executable:
                target.chmod(0o755)
        return result

    def link(self, path: str, target: str) -> None:
        place = Path(path)
        self._check(place)
        with disk_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(target)

    def _check(self, path: Path) -> None:
        if not path.is_relative_to(self.root):
            raise LockError(
                f"a file of this lock would be written to {path}, outside {self.root}",
                hint="Do not build from this lock.",
            )


class TarSink:
    """Files in a tar whose members are relative to ``/``: sorted input gives the same bytes."""

    def __init__(self, file: IO[bytes], own: str, epoch: int = 0) -> None:
        """
        :param own: the directory below which every directory is written out too; above it
            they belong to the image, and their modes must not change.
        :param epoch: modification time of every member, seconds since 1970.
        """
        self._tar = tarfile.open(  # noqa: SIM115 - closed by close()
            fileobj=file, mode="w|", format=tarfile.PAX_FORMAT
        )
        self._own = own.rstrip("/") + "/"
        self._epoch = epoch
        self._seen: set[str] = set()

    def close(self) -> None:
        self._tar.close()

    def put(self, path: str, stream: IO[bytes], *, executable: bool) -> tuple[str, int]:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL) as spool:
            sha256, size = _copy(stream, spool)
            spool.seek(0)
            member = self._member(path)
            member.size = size
            member.mode = 0o755 if executable else 0o644
            self._tar.addfile(member, cast("IO[bytes]", spool))
        return sha256, size

    def link(self, path: str, target: str) -> None:
        member = self._member(path)
        member.type = tarfile.SYMTYPE
        member.linkname = target
        member.mode = 0o777
        self._tar.addfile(member)

    def _member(self, path: str) -> tarfile.TarInfo:
        if not path.startswith("/") or ".." in path.split("/"):
            raise LockError(f"a file of this lock would be written to {path!r}")
        self._directories(posixpath.dirname(path))
        member = tarfile.TarInfo(path.lstrip("/"))
        member.mtime = self._epoch
        return member

    def _directories(self, directory: str) -> None:
        if directory in self._seen or not (directory + "/").startswith(self._own):
            return
        self._directories(posixpath.dirname(directory))
        self._seen.add(directory)
        member = tarfile.TarInfo(directory.lstrip("/"))
        member.type = tarfile.DIRTYPE
        member.mode = 0o755
        member.mtime = self._epoch
        self._tar.addfile(member)


def _copy(stream: IO[bytes], out: Any) -> tuple[str, int]:
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
    python: str
    record: dict[str, tuple[str, int]] = field(default_factory=dict)
    _wrappers: set[str] = field(default_factory=set)

    def _path(self, scheme: str, path: str) -> str:
        root = self.schemes[scheme]
        full = posixpath.normpath(posixpath.join(root, path))
        if not full.startswith(root.rstrip("/") + "/"):
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
        if scheme == "scripts":
            if name in self._wrappers:
                return RecordEntry(name, None, None)
            with fix_shebang(stream, self.python) as fixed:
                return self._put(name, target, fixed, True)
        key = ("site" if scheme in {"purelib", "platlib"} else scheme) + "/" + name
        if key in self.package.facts.yields:
            return _entry(name, *_copy(stream, None))
        return self._put(name, target, stream, is_executable)

    def _put(self, name: str, target: str, stream: Any, executable: bool) -> RecordEntry:
        return _entry(name, *self.sink.put(target, stream, executable=executable))

    def write_script(self, name: str, module: str, attr: str, section: Any) -> RecordEntry:
        script, data = Script(name, module, attr, section).generate(self.python, "posix")
        self._wrappers.add(script)
        entry = self._put(script, self._path("scripts", script), io.BytesIO(data), True)
        for copy in self.package.facts.wrapper_copies.get(name, []):
            self._put(copy, self._path("scripts", copy), io.BytesIO(data), True)
        return entry

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        def prefix(other: str) -> str | None:
            if self.schemes[other] == self.schemes[scheme]:
                return None
            return posixpath.relpath(self.schemes[other], self.schemes[scheme]) + "/"

        rows = [
            row for row in records if row[1].hash_ is not None or row[1].path == record_file_path
        ]
        with construct_record_file(rows, prefix) as stream:
            self._put(record_file_path, self._path(scheme, record_file_path), stream, False)


def _entry(name: str, sha256: str, size: int) -> RecordEntry:
    text = base64.urlsafe_b64encode(bytes.fromhex(sha256)).rstrip(b"=").decode("ascii")
    return RecordEntry(name, Hash("sha256", text), size)


class _Source(WheelFile):
    """A wheel whose metadata directory is the one that was installed, however it is spelt."""

    def __init__(self, archive: zipfile.ZipFile, info: str) -> None:
        self._info = info
        try:
            super().__init__(archive)
        except ValueError:
            self.distribution, _, self.version = info.removesuffix(".dist-info").rpartition("-")
            self._zipfile = archive

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Without ``__pycache__``: some wheels carry it, and it is made anew at any time."""
        for element in super().get_contents():
            if "__pycache__" not in element[0][0].split("/")[:-1]:
                yield element

    @property
    def dist_info_dir(self) -> str:
        return self._info

    @property
    def data_dir(self) -> str:
        return self._info.removesuffix(".dist-info") + ".data"


def place_package(package: Package, wheel: Path, sink: Sink, schemes: Schemes) -> None:
    """Place one package from its (already hash-checked) wheel.

    INSTALLER, REQUESTED and direct_url.json come back as they were.

    :raises ArtifactError: the wheel is damaged or malformed.
    :raises LockError: it would write outside the environment.
    """
    facts = package.facts
    extra = {}
    if facts.installer is not None:
        extra["INSTALLER"] = facts.installer.encode()
    if facts.requested:
        extra["REQUESTED"] = b""
    if facts.direct_url is not None:
        extra["direct_url.json"] = facts.direct_url.encode()
    name = facts.info.partition("-")[0] or normalize(package.name)
    placement = Placement(sink, package, schemes.of(name), schemes.python)
    try:
        with zipfile.ZipFile(wheel) as archive:
            install(_Source(archive, facts.info), placement, extra)
    except (LockError, ArtifactError):
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, AssertionError, EOFError) as error:
        raise ArtifactError(
            f"{package.artifact.filename} cannot be placed: {type(error).__name__}: {error}",
            hint="It has the bytes that the lock names: the lock or the wheel is at fault.",
        ) from error


def place_loose(site: LooseSite, archive: Path, sink: Sink, directory: str) -> None:
    """Put back the unowned files of a site directory; links last, so none is written through.

    :raises LockError: a member is not one the lock names, or leads out of the directory.
    :raises ArtifactError: a member's bytes are not those that the lock names.
    """
    wanted = {entry.path: entry for entry in site.files}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            entry = wanted.get(member.name)
            if entry is None or not is_inside(member.name):
                raise LockError(
                    f"{archive.name} holds {member.name!r}, which the lock does not name"
                )
            if entry.link is None and member.isfile():
                stream = cast("IO[bytes]", tar.extractfile(member))
                path = posixpath.join(directory, member.name)
                sha256, _ = sink.put(path, stream, executable=entry.executable)
                if sha256 != entry.sha256:
                    raise ArtifactError(
                        f"{member.name} in {archive.name} is not what the lock names"
                    )
    for entry in site.files:
        if entry.link is not None and is_inside(entry.path):
            sink.link(posixpath.join(directory, entry.path), entry.link)


def place_parallel(
    packages: list[Package],
    wheels: Mapping[str, Path],
    sink: Sink,
    schemes: Schemes,
    done: Callable[[int], None],
) -> None:
    """Place *packages* with a thread for each processor: inflating releases the lock."""
    stop = threading.Event()

    def one(package: Package) -> None:
        if not stop.is_set():
            place_package(package, wheels[package.artifact.sha256], sink, schemes)
            done(1)

    largest_first = sorted(packages, key=lambda package: -package.artifact.size)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(one, package) for package in largest_first]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def remove_tree(path: Path) -> None:
    """Remove what a failed build made; best effort."""
    shutil.rmtree(path, ignore_errors=True)
