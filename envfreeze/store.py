"""Content-addressed bytes: the user's cache, and ``NAME.lock.d`` beside a lock.

Every write goes to a temporary file in the same directory and is renamed when it is whole,
so a killed run leaves the old entry or the new one. Entries are named by their sha256, so
concurrent runs that store the same bytes agree.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from envfreeze.errors import ArtifactError, CacheError, DamagedEntryError, DiskError
from envfreeze.model.artifact import Artifact

if TYPE_CHECKING:
    from envfreeze.model.lock import Lock

CHUNK = 1 << 20

TOUCH_AFTER = 3600.0
"""Seconds after which a use is written down again, as the entry's modification time. Many file
systems keep no access times (noatime), or are told of reads that are no use (a backup)."""

STALE = 86400.0
"""Seconds after which a temporary file is taken for the leaving of a killed run."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_KIND = re.compile(r"[a-z][a-z-]*")
_BLOBS, _SCRATCH, _TEMPORARY = "blobs", "scratch", ".new."


@contextlib.contextmanager
def disk_errors(path: Path | str, kind: type[DiskError] = DiskError) -> Iterator[None]:
    """Turn the operating system's refusals about *path* into a :class:`DiskError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in {
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EFBIG,
            errno.EROFS,
            errno.EACCES,
            errno.EPERM,
            errno.ENOTDIR,
            errno.EISDIR,
            errno.ENAMETOOLONG,
            errno.ENOENT,
        }:
            raise
        hint = (
            "Free some space and run the same command again; nothing was left half-written."
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            else "Choose a place that can be written to."
        )
        place = error.filename or path
        raise kind(f"cannot write {place}: {error.strerror}", hint=hint) from error


@contextlib.contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that becomes *path* when the block ends well, and vanishes when not.

    :param durable: force it to the disk first; else a power failure may leave less than all of it.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)  # noqa: PTH101 - mkstemp gives a str
            os.replace(name, path)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108
            raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write *data* to *path*, whole or not at all."""
    with atomic_file(path) as file:
        file.write(data)


def hash_file(path: Path | str) -> tuple[str, int]:
    """``(sha256 hex, size in bytes)`` of a file."""
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - the fast path
        buffer = bytearray(CHUNK)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            digest.update(view[:count])
            size += count
    return digest.hexdigest(), size


def old_digest(path: Path, algorithm: Literal["md5", "sha1"]) -> str:
    """The digest of a file that is an identity in older formats, never a proof."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class BlobWriter:
    """A file in the making that counts and hashes what is written to it."""

    def __init__(self, file: IO[bytes], cache: Path | None = None) -> None:
        """:param cache: the cache that it is written to."""
        self._file = file
        self._cache = cache
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        try:
            self._file.write(data)
        except OSError:
            # At once: who writes here also reads elsewhere, and would take it for an error of that.
            if self._cache is None:
                raise
            with disk_errors(self._cache, CacheError):
                raise
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of the cache, or a directory of its scratch place."""

    path: Path
    kind: str
    """``blobs``, the kind of a note, or ``temporary``."""
    size: int
    used: float
    """When it was last stored or used, seconds since 1970; at most an hour too early."""

    @property
    def sha256(self) -> str:
        """What a blob is called."""
        return self.path.name


class Cache:
    """The user's cache: whole artifacts by sha256, and small notes by key."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else default_root()

    def _blob(self, sha256: str) -> Path:
        return self.root / "blobs" / sha256[:2] / sha256

    def find(self, sha256: str, size: int | None = None) -> Path | None:
        """The cached file with these bytes, or None. Bytes are checked where they are used."""
        if not _DIGEST.fullmatch(sha256):
            return None
        path = self._blob(sha256)
        try:
            found = path.stat()
        except OSError:
            return None
        if size is not None and found.st_size != size:
            self.discard(sha256)
            return None
        _touch(path, found.st_mtime)
        return path

    def path_of(self, sha256: str, what: str, size: int | None = None) -> Path:
        """As :meth:`find`, of what was just written or seen.

        :param what: what it is called in an error.
        :raises ArtifactError: it is not there any more.
        """
        path = self.find(sha256, size)
        if path is None:
            raise ArtifactError(f"{what} vanished from the cache while it was used")
        return path

    def find_whole(self, sha256: str, size: int | None = None) -> Path | None:
        """As :meth:`find`, its bytes checked: a damaged entry is dropped, and there is none."""
        path = self.find(sha256, size)
        if path is None:
            return None
        try:
            whole = hash_file(path)[0] == sha256
        except OSError:
            return None
        if whole:
            return path
        self.discard(sha256)
        return None

    def discard(self, sha256: str) -> None:
        """Drop a damaged entry."""
        with contextlib.suppress(OSError):
            self._blob(sha256).unlink()

    @contextlib.contextmanager
    def writing(self, expect: str | None = None) -> Iterator[BlobWriter]:
        """Store what the block writes, under its digest (read it from the writer afterwards).

        :param expect: the sha256 that it must turn out to have.
        :raises ArtifactError: it has another; nothing is stored.
        """
        place = self.root / "blobs"
        with disk_errors(place, CacheError):
            place.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".new.", dir=place)
        try:
            with disk_errors(place, CacheError), os.fdopen(descriptor, "wb") as file:
                writer = BlobWriter(file, place)
                yield writer
            if expect is not None and writer.sha256 != expect:
                raise ArtifactError(f"expected sha256 {expect}\n     got sha256 {writer.sha256}")
            target = self._blob(writer.sha256)
            with disk_errors(target, CacheError):
                target.parent.mkdir(parents=True, exist_ok=True)
                os.chmod(name, 0o644)  # noqa: PTH101
                os.replace(name, target)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108
            raise

    def add(self, path: Path) -> tuple[str, int]:
        """Copy a file into the cache; its ``(sha256, size)``."""
        with path.open("rb") as source, self.writing() as blob:
            shutil.copyfileobj(source, blob, CHUNK)
        return blob.sha256, blob.size

    def _note(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / f"{key}.json"

    def read_note(self, kind: str, key: str) -> bytes | None:
        """A small remembered document, or None. *key* is a hex digest."""
        path = self._note(kind, key)
        try:
            with path.open("rb") as file:
                data = file.read()
                used = os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        _touch(path, used)
        return data

    def has_note(self, kind: str, key: str) -> bool:
        """Whether something is remembered under *key*."""
        return self._note(kind, key).exists()

    def write_note(self, kind: str, key: str, data: bytes) -> None:
        """Remember a small document. A cache that cannot be written only costs time."""
        with contextlib.suppress(DiskError, OSError):
            path = self._note(kind, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".new.", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                os.replace(name, path)  # noqa: PTH105
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)  # noqa: PTH108
                raise

    def entries(self) -> Iterator[Entry]:
        """Every blob and note, in no order. What is not called like one is nobody's business:
        the directory may have been chosen badly."""
        for place in _directories(self.root, _KIND):
            if place.name == _SCRATCH:
                continue
            blobs = place.name == _BLOBS
            for shard in _directories(place, _SHARD):
                for file in _scan(shard):
                    name = file.name if blobs else file.name.removesuffix(".json")
                    suffix = "" if blobs else ".json"
                    if _DIGEST.fullmatch(name) and file.name == name + suffix:
                        entry = _entry(file, place.name)
                        if entry is not None:
                            yield entry

    def leftovers(self, now: float | None = None) -> Iterator[Entry]:
        """What killed runs left: temporary files, and build contexts, older than a day."""
        limit = (time.time() if now is None else now) - STALE
        for place in _directories(self.root, _KIND):
            if place.name == _SCRATCH:
                found = [file for file in _scan(place) if file.name.startswith("envfreeze-")]
            else:
                inside = [place, *_directories(place, _SHARD)]
                found = [
                    file
                    for directory in inside
                    for file in _scan(directory)
                    if file.name.startswith(_TEMPORARY) and not file.is_dir(follow_symlinks=False)
                ]
            for file in found:
                entry = _entry(file, "temporary", directory=place.name == _SCRATCH)
                if entry is not None and entry.used < limit:
                    yield entry

    def is_whole(self, entry: Entry) -> bool | None:
        """Whether a blob has the bytes that its name promises; None: it has gone meanwhile."""
        try:
            return hash_file(entry.path)[0] == entry.sha256
        except FileNotFoundError:
            return None
        except OSError:
            return False

    def remove(self, entry: Entry) -> bool:
        """Remove an entry, unless it was used since it was listed; whether it was removed.

        Directories stay: another run may be about to rename a file into them.
        """
        try:
            found = entry.path.lstat()
            if found.st_mtime > entry.used:
                return False
            if stat.S_ISDIR(found.st_mode):
                shutil.rmtree(entry.path)
            else:
                entry.path.unlink()
        except FileNotFoundError:
            return False
        return True


def _touch(path: Path, used: float) -> None:
    now = time.time()
    if now - used > TOUCH_AFTER:
        with contextlib.suppress(OSError):
            os.utime(path, (now, now))


def _scan(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except OSError:
        return []


def _directories(place: Path, called: re.Pattern[str]) -> Iterator[Path]:
    """The directories in *place* with such a name; no link is followed."""
    for entry in _scan(place):
        if called.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def _entry(file: os.DirEntry[str], kind: str, *, directory: bool = False) -> Entry | None:
    try:
        found = file.stat(follow_symlinks=False)
    except OSError:
        return None
    is_directory = stat.S_ISDIR(found.st_mode)
    if is_directory != directory or not (is_directory or stat.S_ISREG(found.st_mode)):
        return None
    size = _size_below(file.path) if is_directory else found.st_size
    return Entry(path=Path(file.path), kind=kind, size=size, used=found.st_mtime)


def _size_below(directory: str) -> int:
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118
    return total


def default_root() -> Path:
    """``$ENVFREEZE_CACHE_DIR``, else the platform's cache directory."""
    if chosen := os.environ.get("ENVFREEZE_CACHE_DIR"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("envfreeze", appauthor=False))


class Stamps:
    """Which files had which digest when they were read: while a file's stamps (device, inode,
    size, times of modification and change) stay, it need not be read again."""

    def __init__(self, cache: Cache, directory: Path) -> None:
        """
        :param directory: what the files lie in; the memory is its own.
        """
        import msgspec

        self._cache = cache
        self._key = hashlib.sha256(os.fsencode(directory.absolute())).hexdigest()
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}
        with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
            note = cache.read_note("kept", self._key) or b"{}"
            self._known = msgspec.json.decode(note, type=dict[str, str])

    def forget(self) -> None:
        """Read all files again."""
        self._known = {}

    def has(self, path: Path, sha256: str) -> bool:
        """Whether *path* is a file with this digest; it is read where that is not known."""
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                return False
            stamp = "-".join(str(getattr(found, name)) for name in _STAMP)
            known = self._known.get(stamp) == sha256
            if not known and hash_file(path)[0] != sha256:
                return False
        except OSError:
            return False
        # One that was changed just now could change again with the same stamps.
        if known or time.time_ns() - found.st_ctime_ns > _SETTLED:
            self._new[stamp] = sha256
        return True

    def save(self) -> None:
        """Remember what was asked for since this was made, and nothing else."""
        import msgspec

        if self._new != self._known:
            self._cache.write_note("kept", self._key, msgspec.json.encode(self._new))


_STAMP = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
_SETTLED = 2_000_000_000


class Sidecar:
    """``NAME.lock.d``: the bytes that a lock packs, each at ``SHA256/FILENAME``."""

    def __init__(self, lock_path: Path) -> None:
        self.lock_path = lock_path
        self.root = lock_path.with_name(lock_path.name + ".d")
        self._new: list[Path] = []

    @contextlib.contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """On a failure inside, what was kept inside is removed again."""
        self._new = []
        try:
            yield
        except BaseException:
            for directory in self._new:
                shutil.rmtree(directory, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.root.rmdir()
            raise

    def relative(self, sha256: str, filename: str) -> str:
        """The ``path`` of an artifact as a lock writes it."""
        return f"{self.root.name}/{sha256}/{filename}"

    def keep(self, source: Path, artifact: Artifact, stamps: Stamps) -> None:
        """Copy *source* to where *artifact* says; done already when it lies there whole.

        :raises ArtifactError: *source* has other bytes. It is removed: a cache's damaged entry
            must not be met again.
        """
        target = self.lock_path.parent / str(artifact.path)
        if stamps.has(target, artifact.sha256):
            return
        if not target.parent.exists():
            self._new.append(target.parent)
        with source.open("rb") as reader, atomic_file(target) as file:
            writer = BlobWriter(file)
            shutil.copyfileobj(reader, writer, CHUNK)
            if writer.sha256 != artifact.sha256:
                with contextlib.suppress(OSError):
                    source.unlink()
                raise DamagedEntryError(
                    f"{artifact.filename} is damaged in the cache ({source})\n"
                    f"expected sha256 {artifact.sha256}\n     got sha256 {writer.sha256}",
                    hint="It was removed from there. Look for more with: envfreeze cache verify\n"
                    "Then run the same command again.",
                )

    def sweep(self, lock: Lock) -> None:
        """Remove what *lock* no longer names: the leavings of an earlier capture.

        Only what is called like a digest; the directory may be somebody's own ``NAME.d``.
        """
        from envfreeze.model.lock import artifacts  # Who has a lock has loaded it already.

        wanted = {artifact.sha256 for artifact in artifacts(lock) if artifact.path}
        if not self.root.is_dir():
            return
        for entry in self.root.iterdir():
            if entry.name not in wanted and _DIGEST.fullmatch(entry.name):
                shutil.rmtree(entry, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.root.rmdir()


def kept(cache: Cache, sidecar: Sidecar, sha256: str, filename: str) -> Artifact:
    """The artifact for cached bytes that the lock will keep beside it."""
    path = cache.find(sha256)
    if path is None:
        raise ArtifactError(f"{filename} ({sha256}) is no longer in the cache {cache.root}")
    return Artifact(
        path=sidecar.relative(sha256, filename),
        size=path.stat().st_size,
        hashes={"sha256": sha256},
    )


def open_artifact(lock_path: Path, artifact: Artifact) -> Path:
    """The file of a packed artifact beside the lock, its bytes checked.

    :raises ArtifactError: it is missing, or has other bytes than the lock says.
    """
    path = lock_path.parent / str(artifact.path)
    hint = f"Copy {lock_path.name}.d together with {lock_path.name}, or capture again."
    if not path.is_file():
        raise ArtifactError(f"{path} is missing: the lock packs it there", hint=hint)
    sha256, size = hash_file(path)
    if sha256 != artifact.sha256:
        raise ArtifactError(
            f"{path} is not what the lock names ({size} bytes, expected {artifact.size})\n"
            f"expected sha256 {artifact.sha256}\n     got sha256 {sha256}",
            hint=hint,
        )
    return path
