"""The proof of a wheel: the files that lie here are the files that the index's wheel holds.

The RECORD inside a candidate wheel is read with range requests and compared with what is
installed (packaging.python.org, "recording-installed-packages" and "binary-distribution-format").
What was proved is remembered, so that an unchanged environment is proved without a request.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import queue
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.model.identity import (
    INSTALLER_FILES,
    is_bytecode,
    normalize,
    owned_rows,
    sha256_of_claim,
    versioned_wrapper,
)
from envfreeze.model.lock import is_inside
from envfreeze.model.snapshot import Dist, Row
from envfreeze.resolve.http import RangesUnsupportedError, local_path, redact, strip_credentials
from envfreeze.resolve.index import Candidate, Index, filename_of, split_wheel_name
from envfreeze.resolve.zipremote import BadZip, RemoteZip
from envfreeze.store import Cache, hash_file

if TYPE_CHECKING:
    from envfreeze.resolve.http import Http

RECORD_LIMIT = 64 << 20
MEMBER_LIMIT = 64 << 20
MAX_TRIES = 24
"""Candidates looked into for one distribution."""
MAX_READS = 64
"""Members read to settle what a RECORD leaves open, for one candidate."""
MAX_DOWNLOADS = 2
"""Whole wheels fetched for one distribution, where there is no other way."""
_ENOUGH = 200
"""Differences after which a candidate is given up."""
_MAX_TAIL = 4 << 20
_NOTE_VERSION = 1

Accepts = Callable[[str], bool]
"""Whether an interpreter would take the wheel with this file name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelProof:
    """This distribution is the content of that wheel."""

    candidate: Candidate
    """Its ``url`` holds no credentials."""
    sha256: str
    size: int
    evidence: str
    """One line for a person: what was compared with what."""
    direct: bool = False
    """It was installed from this URL (PEP 610), not from an index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotProved:
    """No wheel could be shown to be the origin."""

    reason: str
    nearest: Candidate | None = None
    """The wheel that came closest, where only some files differ."""
    differing: tuple[str, ...] = ()
    """``scheme/path`` of what differs from :attr:`nearest`, the first few."""


Verdict = WheelProof | NotProved


class _Mismatch(Exception):  # noqa: N818 - an answer, not an error
    """This candidate is not the origin.

    :param keys: what differs; empty when it could not be compared.
    """

    def __init__(self, keys: tuple[str, ...], reason: str) -> None:
        super().__init__(reason)
        self.keys = keys
        self.reason = reason


# --- what is installed ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Installed:
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

    def digest(self, fingerprint: str) -> str:
        """What a remembered proof depends on."""
        dist = self.dist
        head = [_NOTE_VERSION, normalize(dist.name), dist.version, dist.tags, dist.build]
        head += [dist.direct_url, sorted(self.yields), sorted(dist.wrappers), fingerprint]
        digest = hashlib.sha256(json.dumps(head).encode())
        for key, row in sorted(self.files.items()):
            digest.update(f"{key}\0{row.sha256}\0{row.claim}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def _installed(dist: Dist, yields: frozenset[str]) -> _Installed:
    view = _Installed(dist, {}, yields)
    for row in owned_rows(dist):
        if not _is_left_over(row, view):
            view.files[f"{row.scheme}/{row.path}"] = row
    return view


def _is_left_over(row: Row, view: _Installed) -> bool:
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
class _Budget:
    """What one distribution may still cost."""

    downloads: int = MAX_DOWNLOADS


class _Wheel:
    """A candidate, read as little as possible."""

    def __init__(self, candidate: Candidate, http: Http, cache: Cache, *, tail: int) -> None:
        self.candidate = candidate
        self._http = http
        self._cache = cache
        self._tail = tail
        self._zip: RemoteZip | None = None
        self._path: Path | None = None
        self.budget = _Budget()

    def zip(self) -> RemoteZip:
        """The archive; over the network unless its bytes are here."""
        if self._zip is None:
            self._zip = self._open()
        return self._zip

    def _open(self) -> RemoteZip:
        candidate = self.candidate
        path = self._path or (self._cache.find(candidate.sha256) if candidate.sha256 else None)
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
            sha256, size = _hash_local(path, self._cache)
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
            self.candidate = replace(candidate, size=self._http.size(candidate.url))
        return False

    def record(self, info: str) -> tuple[str, bytes]:
        """``(name of the dist-info directory, content of RECORD)``.

        Remembered by digest and place: an index that gives a false digest deceives only itself.
        """
        key = self._record_key()
        if key and (note := self._cache.read_note("records", key)):
            head, _, packed = note.partition(b"\n")
            try:
                inflater = zlib.decompressobj()
                return head.decode(), inflater.decompress(packed, RECORD_LIMIT)
            except (zlib.error, UnicodeDecodeError):
                pass
        archive = self.zip()
        found = _dist_info(archive, info)
        content = archive.read(f"{found}/RECORD", RECORD_LIMIT)
        if key and "\n" not in found:
            self._cache.write_note(
                "records", key, found.encode() + b"\n" + zlib.compress(content, 1)
            )
        return found, content

    def _record_key(self) -> str | None:
        candidate = self.candidate
        if candidate.sha256 is None or candidate.local:
            return None
        place = f"{candidate.sha256} {strip_credentials(candidate.url)}"
        return hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()


def _open_file(path: Path, tail: int) -> RemoteZip:
    def read(start: int, end: int) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    return RemoteZip(path.stat().st_size, read, tail=tail)


def _dist_info(archive: RemoteZip, info: str) -> str:
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


def _hash_local(path: Path, cache: Cache) -> tuple[str, int]:
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


def _compare(view: _Installed, wheel: _Wheel) -> int:
    """How many files are equal, when all are.

    :raises _Mismatch: the wheel is not where these files come from.
    """
    comparison = _Comparison(view, wheel)
    comparison.rows()
    comparison.settle()
    return len(view.files)


@dataclass(slots=True)
class _Comparison:
    view: _Installed
    wheel: _Wheel
    info: str = ""
    matched: set[str] = field(default_factory=set)
    absent: list[str] = field(default_factory=list)
    """Members of the wheel's RECORD that have no file here."""
    open: list[tuple[str, str]] = field(default_factory=list)
    """``(member, key)`` that only the member's bytes can settle."""
    differing: list[str] = field(default_factory=list)
    reads: int = 0

    def rows(self) -> None:
        """Hold each row of the wheel's RECORD against what lies here."""
        self.info, content = self.wheel.record(self.view.dist.info)
        for path, claim in _record_rows(content):
            keys = self._keys(path)
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
            self.differing += [self._keys(path)[0] for path in self.absent if path in archive]
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
            for key in self._keys(name):
                members.setdefault(key, name)
        for key in extra:
            if key in members:
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
            raise _Mismatch((), f"more than {MAX_READS} files would have to be read to tell")
        content = archive.read(path, MEMBER_LIMIT)
        if hashlib.sha256(content).hexdigest() == row.sha256:
            return True
        return row.scheme == "scripts" and row.sha256 in _script_digests(content)

    def _give_up(self) -> None:
        keys = tuple(
            dict.fromkeys([*self.differing, *(self._keys(path)[0] for path in self.absent)])
        )
        first = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
        many = f"{len(keys)} file{'s' if len(keys) != 1 else ''}"
        verb = "differs" if len(keys) == 1 else "differ"
        raise _Mismatch(keys, f"{many} of {self.wheel.candidate.filename} {verb}: {first}")

    def _keys(self, path: str) -> tuple[str, ...]:
        """Where an installer puts a member, as ``scheme/path``; nothing: it is not kept."""
        stem = self.info.removesuffix(".dist-info")
        head, _, rest = path.partition("/")
        if path.endswith("/"):
            return ()
        if not _is_plain(path):
            raise _Mismatch((), f"its RECORD names {path!r}, which leads out of it")
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


def _script_digests(content: bytes) -> set[str]:
    """What a script's digest may be once its interpreter's path is ``#!python`` again.

    Installers replace a first line that begins with ``#!python`` as a whole.
    """
    first, newline, rest = content.partition(b"\n")
    if not first.startswith(b"#!python"):
        return set()
    kept = re.sub(rb"^#!\S+", b"#!python", first)
    heads = (b"#!python", kept, b"#!python\r")
    return {hashlib.sha256(head + newline + rest).hexdigest() for head in heads}


# --- which candidates ----------------------------------------------------------------------


def rank(dist: Dist, wheels: Sequence[Candidate], accepts: Accepts | None) -> list[Candidate]:
    """The wheels worth looking into, the likeliest first.

    WHEEL's tags are the file name's, expanded; some builds write others, so a wheel that the
    interpreter merely takes is looked into last: the content decides.
    """
    tags = set(dist.tags)
    ranked: list[tuple[tuple[bool, ...], Candidate]] = []
    for wheel in wheels:
        name = split_wheel_name(wheel.filename)
        if name is None:
            continue
        same = name.tags == tags
        near = bool(name.tags & tags)
        if not near and accepts is not None and not accepts(wheel.filename):
            continue
        ranked.append(((not same, name.build != dist.build, not near), wheel))
    ranked.sort(key=lambda item: item[0])
    return [wheel for _, wheel in ranked[:MAX_TRIES]]


class _DirectUrl(msgspec.Struct):
    url: str
    archive_info: dict[str, Any] | None = None
    vcs_info: dict[str, Any] | None = None
    dir_info: dict[str, Any] | None = None


def _direct_url(dist: Dist) -> _DirectUrl | None:
    try:
        return msgspec.json.decode(dist.direct_url, type=_DirectUrl) if dist.direct_url else None
    except (msgspec.DecodeError, RecursionError):
        return None


def _direct_candidate(direct: _DirectUrl) -> Candidate | None:
    """PEP 610: the URL of an archive, and the hash it had when it was installed."""
    filename = filename_of(direct.url)
    local = local_path(direct.url) is not None
    if split_wheel_name(filename) is None:
        return None
    if not local and urlsplit(direct.url).scheme not in {"http", "https"}:
        return None
    hashes = (direct.archive_info or {}).get("hashes")
    digest = hashes.get("sha256") if isinstance(hashes, dict) else None
    known = isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest)
    return Candidate(
        filename=filename,
        url=direct.url.partition("#")[0],
        sha256=str(digest) if known else None,
        size=None,
        index=None,
        local=local,
    )


# --- proofs --------------------------------------------------------------------------------


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    """A remembered proof."""

    filename: str
    url: str
    sha256: str
    size: int
    index: str | None
    yanked: bool
    local: bool
    evidence: str
    direct: bool


def _remember(proof: WheelProof, key: str, cache: Cache) -> None:
    candidate = proof.candidate
    note = _Note(
        filename=candidate.filename,
        url=candidate.url,
        sha256=proof.sha256,
        size=proof.size,
        index=candidate.index,
        yanked=candidate.yanked,
        local=candidate.local,
        evidence=proof.evidence,
        direct=proof.direct,
    )
    cache.write_note("proofs", key, msgspec.json.encode(note))


def _recall(key: str, cache: Cache) -> WheelProof | None:
    data = cache.read_note("proofs", key)
    if data is None:
        return None
    try:
        note = msgspec.json.decode(data, type=_Note)
        if note.local:
            path = local_path(note.url)
            if path is None or _hash_local(path, cache)[0] != note.sha256:
                return None
    except (msgspec.DecodeError, ArtifactError):
        return None
    candidate = Candidate(
        filename=note.filename,
        url=note.url,
        sha256=note.sha256,
        size=note.size,
        index=note.index,
        yanked=note.yanked,
        local=note.local,
    )
    return WheelProof(
        candidate=candidate,
        sha256=note.sha256,
        size=note.size,
        evidence=note.evidence,
        direct=note.direct,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """What every proof of one run shares."""

    index: Index
    cache: Cache
    offline: bool = False
    accepts: Accepts | None = None

    def prove(self, dist: Dist, yields: frozenset[str] = frozenset()) -> Verdict:
        """Find the wheel that *dist* was installed from."""
        if dist.rows is None or not dist.info.endswith(".dist-info"):
            return NotProved(reason="it has no RECORD to compare with a wheel's")
        view = _installed(dist, yields)
        if not view.files:
            return NotProved(reason="its RECORD lists no files")
        key = view.digest(self.index.settings.fingerprint)
        known = _recall(key, self.cache)
        if known is not None:
            return known
        if self.offline:
            return NotProved(reason="offline, and not proved here before")
        try:
            verdict = self._search(view)
        except IndexUnavailableError as error:
            return NotProved(reason=str(error))
        if isinstance(verdict, WheelProof):
            _remember(verdict, key, self.cache)
        return verdict

    def _search(self, view: _Installed) -> Verdict:
        dist = view.dist
        budget = _Budget()
        direct = _direct_url(dist)
        if direct is not None:
            if direct.vcs_info is not None or direct.dir_info is not None:
                kind = "a repository" if direct.vcs_info is not None else "a local directory"
                return NotProved(reason=f"it was built from {kind} (direct_url.json)")
            origin = _direct_candidate(direct)
            if origin is not None:
                verdict = self._try(view, origin, budget)
                if isinstance(verdict, WheelProof):
                    return verdict
        found = self.index.candidates(dist.name, dist.version)
        wheels = rank(dist, found.wheels, self.accepts)
        if not wheels:
            reason = _nothing(dist, bool(found.wheels), bool(found.sdists))
            silent = "; an index did not answer" if self.index.problems else ""
            return NotProved(reason=reason + silent)
        return self._try_all(view, wheels, budget)

    def _try_all(self, view: _Installed, wheels: list[Candidate], budget: _Budget) -> Verdict:
        failures: list[NotProved] = []
        for wheel in wheels:
            verdict = self._try(view, wheel, budget)
            if isinstance(verdict, WheelProof):
                return verdict
            failures.append(verdict)
        # The first is the likeliest; one that could be compared says more than one that not.
        best = min(failures, key=lambda v: (not v.differing, len(v.differing)))
        if len(failures) == 1:
            return best
        return replace(best, reason=f"none of {len(failures)} wheels is it; {best.reason}")

    def _try(self, view: _Installed, candidate: Candidate, budget: _Budget) -> Verdict:
        wheel = _Wheel(candidate, self.index.http, self.cache, tail=view.tail)
        wheel.budget = budget
        try:
            count = _compare(view, wheel)
            if wheel.settle():
                count = _compare(view, wheel)
        except _Mismatch as mismatch:
            near = _public(wheel.candidate) if mismatch.keys else None
            return NotProved(reason=mismatch.reason, nearest=near, differing=mismatch.keys[:20])
        except ArtifactError as error:
            return NotProved(reason=f"{candidate.filename}: {error}")
        return _proof(wheel.candidate, count)


def _nothing(dist: Dist, wheels: bool, sdists: bool) -> str:
    release = f"{dist.name} {dist.version}"
    if wheels:
        return f"no wheel of {release} in the index is for this interpreter"
    if sdists:
        return f"the index has {release} as source only: it was built here"
    return f"no index offers {release}"


def _public(candidate: Candidate) -> Candidate:
    return replace(candidate, url=strip_credentials(candidate.url))


def _proof(candidate: Candidate, count: int) -> WheelProof:
    if candidate.sha256 is None or candidate.size is None:
        raise ArtifactError(f"{candidate.filename} has neither hash nor size")
    place = urlsplit(candidate.url).hostname if candidate.index is None else None
    if place is None and candidate.index is not None:
        place = urlsplit(candidate.index).hostname or local_place(candidate.index)
    files = f"{count} file{'s' if count != 1 else ''}"
    origin = "installed from" if candidate.index is None else "at"
    return WheelProof(
        candidate=_public(candidate),
        sha256=candidate.sha256,
        size=candidate.size,
        evidence=f"{files} equal the RECORD of {candidate.filename} {origin} {place}",
        direct=candidate.index is None,
    )


def local_place(location: str) -> str:
    """A ``file:`` location for a person; its path is this machine's, so not for a lock."""
    return "a local directory" if location.startswith("file:") else location


def prove(
    dist: Dist,
    index: Index,
    cache: Cache,
    *,
    yields: frozenset[str] = frozenset(),
    accepts: Accepts | None = None,
) -> Verdict:
    """Find the wheel that one distribution was installed from."""
    return Prover(index=index, cache=cache, accepts=accepts).prove(dist, yields)


def prove_all(
    dists: Sequence[Dist],
    index: Index,
    cache: Cache,
    *,
    offline: bool = False,
    workers: int = 16,
    on_done: Callable[[str], None] | None = None,
    yields: Sequence[frozenset[str]] | None = None,
    accepts: Accepts | None = None,
) -> list[Verdict]:
    """The verdict for each of *dists*, in their order.

    :param offline: ask nothing: only what was proved here before is proved.
    :param on_done: called in this thread with each name as it is done.
    :param yields: for each of them, the ``scheme/path`` that another distribution overwrote.
    :param accepts: whether the target's interpreter takes the wheel with this file name; such
        wheels are looked into when the tags of WHEEL match none.
    """
    prover = Prover(index=index, cache=cache, offline=offline, accepts=accepts)
    run = _Run(prover, dists, yields)
    run.start(workers)
    return run.wait(on_done)


class _Run:
    """The threads of one :func:`prove_all`.

    They are daemons: an interrupted run must not wait for an index that does not answer.
    """

    def __init__(
        self, prover: Prover, dists: Sequence[Dist], yields: Sequence[frozenset[str]] | None
    ) -> None:
        self._prover = prover
        self._dists = dists
        self._yields = yields
        self._results: dict[int, Verdict] = {}
        self._todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        self._stop = threading.Event()
        # The largest first: the last to finish decides how long it takes.
        for place in sorted(range(len(dists)), key=lambda n: -len(dists[n].rows or ())):
            self._todo.put(place)

    def start(self, workers: int) -> None:
        for _ in range(max(1, min(workers, len(self._dists)))):
            threading.Thread(target=self._work, daemon=True, name="envfreeze-prove").start()

    def wait(self, on_done: Callable[[str], None] | None) -> list[Verdict]:
        try:
            for _ in self._dists:
                place = self._done.get()
                if isinstance(place, BaseException):
                    raise place
                if on_done is not None:
                    on_done(self._dists[place].name)
        finally:
            self._stop.set()
        return [self._results[place] for place in range(len(self._dists))]

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                place = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                self._results[place] = self._one(place)
            except BaseException as error:
                self._done.put(error)
                return
            self._done.put(place)

    def _one(self, place: int) -> Verdict:
        given = self._yields[place] if self._yields is not None else frozenset()
        try:
            return self._prover.prove(self._dists[place], given)
        except ArtifactError as error:
            return NotProved(reason=str(error))
