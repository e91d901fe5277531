"""Whether the files of an installed distribution are the files of a candidate wheel.

The wheel's RECORD, and only where that leaves something open its members, are held against
what the probe saw (packaging.python.org, "recording-installed-packages" and
"binary-distribution-format"). Which wheels are candidates is the business of
:mod:`envfreeze.resolve.wheels`.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.errors import ArtifactError
from envfreeze.model.identity import (
    INSTALLER_FILES,
    is_bytecode,
    owned_rows,
    sha256_of_claim,
    versioned_wrapper,
)
from envfreeze.model.lock import is_inside
from envfreeze.model.snapshot import Dist, Row
from envfreeze.resolve.http import RangesUnsupportedError, local_path, redact, strip_credentials
from envfreeze.resolve.index import Candidate
from envfreeze.resolve.zipremote import BadZip, RemoteZip
from envfreeze.store import Cache, hash_file

if TYPE_CHECKING:
    from envfreeze.resolve.http import Http

RECORD_LIMIT = 64 << 20
MEMBER_LIMIT = 64 << 20
MAX_READS = 64
"""Members read to settle what a RECORD leaves open, for one candidate."""
MAX_DOWNLOADS = 2
"""Whole wheels fetched for one distribution, where there is no other way."""
_ENOUGH = 200
"""Differences after which a candidate is given up."""
_MAX_TAIL = 4 << 20
_RECORD_NOTE = 2
"""Of the form of a remembered RECORD: the members' modes stand before it."""


class Mismatch(Exception):  # noqa: N818 - an answer, not an error
    """This candidate is not the origin.

    :param keys: what differs; empty when it could not be compared.
    """

    def __init__(self, keys: tuple[str, ...], reason: str) -> None:
        super().__init__(reason)
        self.keys = keys
        self.reason = reason


# --- what is installed ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Installed:
    """The wheel's files as they lie here, by ``scheme/path``."""

    dist: Dist
    files: dict[str, Row]
    yields: frozenset[str]

    @property
    def stem(self) -> str:
        return self.dist.info.removesuffix(".dist-info")

    @property
    def tail(self) -> int:
        """A guess at how much of the wheel's end holds its directory and its RECORD."""
        rows = self.files.values()
        return min(sum(46 + 52 + len(row.path) for row in rows) + 8192, _MAX_TAIL)

    def is_script_of_installer(self, name: str) -> bool:
        wrappers = self.dist.wrappers
        return name in wrappers or versioned_wrapper(name, wrappers) is not None


def installed(dist: Dist, yields: frozenset[str]) -> Installed:
    """The view of *dist*, without what its installer added.

    :param yields: ``scheme/path`` of files whose RECORD is believed instead of their bytes:
        another distribution overwrote them, or somebody edited them.
    """
    view = Installed(dist, {}, yields)
    for row in owned_rows(dist):
        if not _is_left_over(row, view):
            view.files[f"{row.scheme}/{row.path}"] = row
    return view


def _is_left_over(row: Row, view: Installed) -> bool:
    """pip and uv leave the row of a script that a wrapper replaced, though nothing is there."""
    head, _, name = row.path.rpartition("/")
    return (
        row.scheme == "site"
        and row.sha256 is None
        and head == f"{view.stem}.data/scripts"
        and view.is_script_of_installer(name)
    )


# --- a candidate wheel ---------------------------------------------------------------------


@dataclass(slots=True)
class Budget:
    """What one distribution may still cost."""

    downloads: int = MAX_DOWNLOADS


class CandidateWheel:
    """A candidate, read as little as possible."""

    def __init__(self, candidate: Candidate, http: Http, cache: Cache, *, tail: int) -> None:
        self.candidate = candidate
        self._http = http
        self._cache = cache
        self._tail = tail
        self._zip: RemoteZip | None = None
        self._path: Path | None = None
        self.modes: Mapping[str, int] = {}
        """By member, where it has an executable bit; known once RECORD was read."""
        self.budget = Budget()

    def zip(self) -> RemoteZip:
        """The archive; over the network unless its bytes are here."""
        if self._zip is None:
            self._zip = self._open()
        return self._zip

    def _open(self) -> RemoteZip:
        candidate = self.candidate
        path = self._path
        if path is None and candidate.sha256:
            path = self._cache.find_whole(candidate.sha256)
        if path is None:
            try:
                return self._open_remote()
            except RangesUnsupportedError:
                path = self.fetch()
        return _open_file(path, self._tail)

    def _open_remote(self) -> RemoteZip:
        url = self.candidate.url
        size = self.candidate.size or self._http.size(url)
        self.candidate = replace(self.candidate, size=size)
        return RemoteZip(size, lambda a, b: self._http.read_range(url, a, b), tail=self._tail)

    def fetch(self) -> Path:
        """All of it, into the cache."""
        candidate = self.candidate
        if candidate.sha256 and (path := self._cache.find(candidate.sha256, candidate.size)):
            return path
        if self.budget.downloads <= 0:
            raise ArtifactError("its server has no byte ranges, and enough was downloaded")
        self.budget.downloads -= 1
        with self._cache.writing(expect=candidate.sha256) as blob:
            self._http.download(candidate.url, blob, candidate.size)
        path = self._cache.find(blob.sha256)
        if path is None:
            raise ArtifactError(f"{candidate.filename} vanished from the cache {self._cache.root}")
        self.candidate = replace(candidate, sha256=blob.sha256, size=blob.size)
        return path

    def settle(self) -> bool:
        """Learn sha256 and size where the index left them open; whether the bytes came anew."""
        candidate = self.candidate
        if candidate.local:
            path = local_path(candidate.url)
            if path is None:
                raise ArtifactError(f"{redact(candidate.url)} is no file of this machine")
            sha256, size = hash_local(path, self._cache)
            if candidate.sha256 not in {None, sha256}:
                raise ArtifactError(
                    f"{path} is not what its index says\n"
                    f"expected sha256 {candidate.sha256}\n     got sha256 {sha256}"
                )
            self.candidate = replace(candidate, sha256=sha256, size=size)
            return False
        if candidate.sha256 is None:
            self._path = self.fetch()
            self._zip = None
            return True
        if candidate.size is None:
            self.candidate = replace(candidate, size=self._size(candidate.sha256))
        return False

    def _size(self, sha256: str) -> int:
        """Of the copy in the cache, else as the server says; one that does not say sends it all."""
        path = self._cache.find(sha256)
        if path is None:
            try:
                return self._http.size(self.candidate.url)
            except RangesUnsupportedError:
                path = self.fetch()
        return path.stat().st_size

    def record(self, info: str) -> tuple[str, bytes]:
        """``(name of the dist-info directory, content of RECORD)``.

        Remembered by digest and place: an index that gives a false digest deceives only itself.
        """
        key = self._record_key()
        if key and (note := self._cache.read_note("records", key)):
            head, _, rest = note.partition(b"\n")
            modes, _, packed = rest.partition(b"\n")
            try:
                self.modes = msgspec.json.decode(modes, type=dict[str, int])
                inflater = zlib.decompressobj()
                return head.decode(), inflater.decompress(packed, RECORD_LIMIT)
            except (zlib.error, UnicodeDecodeError, msgspec.MsgspecError):
                pass
        archive = self.zip()
        found = dist_info(archive, info)
        content = archive.read(f"{found}/RECORD", RECORD_LIMIT)
        self.modes = archive.executable()
        if key and "\n" not in found:
            parts = (found.encode(), msgspec.json.encode(self.modes), zlib.compress(content, 1))
            self._cache.write_note("records", key, b"\n".join(parts))
        return found, content

    def _record_key(self) -> str | None:
        candidate = self.candidate
        if candidate.sha256 is None or candidate.local:
            return None
        place = f"{_RECORD_NOTE} {candidate.sha256} {strip_credentials(candidate.url)}"
        return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()


def _open_file(path: Path, tail: int) -> RemoteZip:
    def read(start: int, end: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    return RemoteZip(path.stat().st_size, read, tail=tail)


def dist_info(archive: RemoteZip, info: str) -> str:
    """The one metadata directory of a wheel, as its own RECORD spells it."""
    if f"{info}/RECORD" in archive:
        return info
    found = [
        name.removesuffix("/RECORD")
        for name in archive.names
        if name.endswith(".dist-info/RECORD") and name.count("/") == 1
    ]
    if len(found) != 1:
        raise BadZip(f"it has {len(found)} RECORD files")
    return found[0]


def hash_local(path: Path, cache: Cache) -> tuple[str, int]:
    """sha256 and size of a file here, remembered until the file changes."""
    try:
        status = path.stat()
        facts = [str(path), status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        note = cache.read_note("wheel-stats", key)
        if note is not None and re.fullmatch(rb"[0-9a-f]{64}", note):
            return note.decode(), status.st_size
        sha256, size = hash_file(path)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}") from error
    cache.write_note("wheel-stats", key, sha256.encode())
    return sha256, size


# --- the comparison ------------------------------------------------------------------------


def gives_bit(mode: int, *, script: bool, installer: str | None) -> bool:
    """Whether *installer* makes a wheel's member of this mode executable.

    pip (9 to 26 tried) and ``installer`` do where the mode is a regular file's and has an
    executable bit; uv asks for no file type, and makes every script of ``.data/scripts`` so.
    """
    if (installer or "").startswith("uv"):
        return script or bool(mode & 0o111)
    return stat.S_ISREG(mode) and bool(mode & 0o111)


def compare(view: Installed, wheel: CandidateWheel) -> frozenset[str]:
    """``scheme/path`` of the files that their installer made executable, when all are equal.

    :raises Mismatch: the wheel is not where these files come from.
    """
    comparison = Comparison(view, wheel)
    comparison.rows()
    comparison.settle()
    return frozenset(comparison.executable)


@dataclass(slots=True)
class Comparison:
    view: Installed
    wheel: CandidateWheel
    info: str = ""
    matched: set[str] = field(default_factory=set)
    absent: list[str] = field(default_factory=list)
    """Members of the wheel's RECORD that have no file here."""
    open: list[tuple[str, str]] = field(default_factory=list)
    """``(member, key)`` that only the member's bytes can settle."""
    differing: list[str] = field(default_factory=list)
    executable: set[str] = field(default_factory=set)
    """Of the files here, those that the installer made so."""
    reads: int = 0

    def rows(self) -> None:
        """Hold each row of the wheel's RECORD against what lies here."""
        self.info, content = self.wheel.record(self.view.dist.info)
        for path, claim in _record_rows(content):
            keys = self.keys(path)
            if not keys:
                continue
            key = next((key for key in keys if key in self.view.files), None)
            if key is None:
                self.absent.append(path)
            else:
                self._row(path, claim, key)
            if len(self.absent) + len(self.differing) > _ENOUGH:
                self._give_up()

    def _row(self, path: str, claim: str, key: str) -> None:
        self.matched.add(key)
        self._mode(path, key)
        row = self.view.files[key]
        said = sha256_of_claim(claim)
        if key in self.view.yields:
            here = row.sha256 if row.claim is None else sha256_of_claim(row.claim)
            if here is not None and said is not None and here != said and row.scheme != "scripts":
                self.differing.append(key)
        elif row.sha256 is not None and row.sha256 == said:
            return
        elif self._is_open(row, said):
            self.open.append((path, key))
        else:
            self.differing.append(key)

    def _mode(self, path: str, key: str) -> None:
        script = path.startswith(f"{self.info.removesuffix('.dist-info')}.data/scripts/")
        mode = self.wheel.modes.get(path, 0)
        if gives_bit(mode, script=script, installer=self.view.dist.installer):
            self.executable.add(key)

    def _is_open(self, row: Row, said: str | None) -> bool:
        """Whether the digests alone cannot tell: the wheel gives none, or gives a false one;
        the installer rewrote the script's first line; the wheel lists a file it lacks."""
        if said is None or row.scheme == "scripts" or row.sha256 is None:
            return True
        return row.claim is not None and sha256_of_claim(row.claim) in {None, said}

    def settle(self) -> None:
        """Read members for what the digests left open, unless the answer is known."""
        extra = [key for key in self.view.files if key not in self.matched]
        if self.differing or len(extra) > _ENOUGH:
            self.differing += extra
            self._give_up()
        if self.absent:
            archive = self.wheel.zip()
            self.differing += [self.keys(path)[0] for path in self.absent if path in archive]
        if extra:
            self._unlisted(extra)
        for path, key in self.open:
            if not self._same_bytes(path, self.view.files[key]):
                self.differing.append(key)
        if self.differing:
            self._give_up()

    def _unlisted(self, extra: list[str]) -> None:
        """Installers place members that the wheel's RECORD forgets, too."""
        members: dict[str, str] = {}
        for name in self.wheel.zip().names:
            for key in self.keys(name):
                members.setdefault(key, name)
        for key in extra:
            if key in members:
                self._mode(members[key], key)
                self.open.append((members[key], key))
            else:
                self.differing.append(key)

    def _same_bytes(self, path: str, row: Row) -> bool:
        archive = self.wheel.zip()
        if path not in archive:
            return row.sha256 is None
        if row.sha256 is None:
            return False
        self.reads += 1
        if self.reads > MAX_READS:
            raise Mismatch((), f"more than {MAX_READS} files would have to be read to tell")
        content = archive.read(path, MEMBER_LIMIT)
        if hashlib.sha256(content).hexdigest() == row.sha256:
            return True
        return row.scheme == "scripts" and row.sha256 in script_digests(content)

    def _give_up(self) -> None:
        keys = tuple(
            dict.fromkeys([*self.differing, *(self.keys(path)[0] for path in self.absent)])
        )
        first = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
        many = f"{len(keys)} file{'s' if len(keys) != 1 else ''}"
        verb = "differs" if len(keys) == 1 else "differ"
        raise Mismatch(keys, f"{many} of {self.wheel.candidate.filename} {verb}: {first}")

    def keys(self, path: str) -> tuple[str, ...]:
        """Where an installer puts a member, as ``scheme/path``; nothing: it is not kept."""
        stem = self.info.removesuffix(".dist-info")
        head, _, rest = path.partition("/")
        if path.endswith("/"):
            return ()
        if not _is_plain(path):
            raise Mismatch((), f"its RECORD names {path!r}, which leads out of it")
        if head == f"{stem}.data":
            return self._data_keys(rest)
        if head == self.info:
            if rest in INSTALLER_FILES:
                return ()
            path = f"{self.view.dist.info}/{rest}"
        return () if is_bytecode(path) else (f"site/{path}",)

    def _data_keys(self, path: str) -> tuple[str, ...]:
        """``NAME.data/SCHEME/PATH`` ("binary-distribution-format", "The .data directory")."""
        scheme, _, rest = path.partition("/")
        if scheme in {"purelib", "platlib"}:
            return () if is_bytecode(rest) else (f"site/{rest}",)
        if scheme == "scripts":
            return () if self.view.is_script_of_installer(rest) else (f"scripts/{rest}",)
        if scheme == "headers":
            return (f"headers/{rest}", f"data/include/{self.view.stem.split('-')[0]}/{rest}")
        if scheme == "data":
            return self._prefix_keys(rest)
        return ()

    def _prefix_keys(self, path: str) -> tuple[str, ...]:
        """A file below the prefix may lie where another scheme's files go."""
        parts = path.split("/")
        if parts[0] == "bin" and len(parts) > 1:
            script = path.removeprefix("bin/")
            return () if self.view.is_script_of_installer(script) else (f"scripts/{script}",)
        keys = [f"data/{path}"]
        if parts[0] == "include":
            keys += [f"headers/{'/'.join(parts[n:])}" for n in range(1, min(len(parts), 8))]
        for place, part in enumerate(parts[:6]):
            if part in {"site-packages", "dist-packages"} and parts[0] in {"lib", "lib64"}:
                keys.insert(0, f"site/{'/'.join(parts[place + 1 :])}")
        return tuple(keys)


def _is_plain(path: str) -> bool:
    """:func:`is_inside`, quick for the paths that are plainly so."""
    if path[0] == "/" or ".." in path or "\\" in path or "\0" in path:
        return is_inside(path)
    return True


def _record_rows(content: bytes) -> Iterator[tuple[str, str]]:
    """``(path, algorithm=digest)``, row by row: a RECORD may be long."""
    stream = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    try:
        for row in csv.reader(stream):
            if row and row[0]:
                yield row[0], row[1] if len(row) > 1 else ""
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadZip(f"its RECORD cannot be read: {error}") from error


def script_digests(content: bytes) -> set[str]:
    """What a script's digest may be once its interpreter's path is ``#!python`` again.

    Installers replace a first line that begins with ``#!python`` as a whole.
    """
    first, newline, rest = content.partition(b"\n")
    if not first.startswith(b"#!python"):
        return set()
    kept = re.sub(rb"^#!\S+", b"#!python", first)
    heads = (b"#!python", kept, b"#!python\r")
    return {hashlib.sha256(head + newline + rest).hexdigest() for head in heads}
