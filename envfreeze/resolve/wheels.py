"""The proof of a wheel: the files that lie here are the files that the index's wheel holds.

The wheels of its release are looked into, the likeliest first (:mod:`envfreeze.resolve.compare`).
What was proved is remembered, so that an unchanged environment is proved without a request.
"""

from __future__ import annotations

import hashlib
import json
import queue
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import msgspec

from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.model.identity import normalize
from envfreeze.model.snapshot import Dist
from envfreeze.resolve.compare import (
    Budget,
    CandidateWheel,
    Installed,
    Mismatch,
    compare,
    hash_local,
    installed,
)
from envfreeze.resolve.http import local_path, strip_credentials
from envfreeze.resolve.index import Candidate, Index, filename_of, split_wheel_name
from envfreeze.store import Cache

MAX_TRIES = 24
"""Candidates looked into for one distribution."""
_NOTE_VERSION = 3

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
    executable: frozenset[str]
    """``scheme/path`` of the files that the dist's installer made executable."""
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
    offered: tuple[Candidate, ...] = ()
    """The release's sources, where no wheel of it could be the one."""


Verdict = WheelProof | NotProved


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
    executable: list[str]
    direct: bool


def _key(view: Installed, fingerprint: str) -> str:
    """What a remembered proof depends on.

    :param fingerprint: of the index settings.
    """
    dist = view.dist
    head = [_NOTE_VERSION, normalize(dist.name), dist.version, dist.tags, dist.build]
    head += [
        dist.installer,
        dist.direct_url,
        sorted(view.yields),
        sorted(dist.wrappers),
        fingerprint,
    ]
    digest = hashlib.sha256(json.dumps(head).encode())
    for key, row in sorted(view.files.items()):
        digest.update(f"{key}\0{row.sha256}\0{row.claim}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


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
        executable=sorted(proof.executable),
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
            if path is None or hash_local(path, cache)[0] != note.sha256:
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
        executable=frozenset(note.executable),
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
        view = installed(dist, yields)
        if not view.files:
            return NotProved(reason="its RECORD lists no files")
        key = _key(view, self.index.settings.fingerprint)
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

    def _search(self, view: Installed) -> Verdict:
        dist = view.dist
        budget = Budget()
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
            return NotProved(reason=reason + silent, offered=found.sdists)
        return self._try_all(view, wheels, budget)

    def _try_all(self, view: Installed, wheels: list[Candidate], budget: Budget) -> Verdict:
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

    def _try(self, view: Installed, candidate: Candidate, budget: Budget) -> Verdict:
        wheel = CandidateWheel(candidate, self.index.http, self.cache, tail=view.tail)
        wheel.budget = budget
        try:
            executable = compare(view, wheel)
            if wheel.settle():
                executable = compare(view, wheel)
        except Mismatch as mismatch:
            near = _public(wheel.candidate) if mismatch.keys else None
            return NotProved(reason=mismatch.reason, nearest=near, differing=mismatch.keys[:20])
        except ArtifactError as error:
            return NotProved(reason=f"{candidate.filename}: {error}")
        return _proof(wheel.candidate, len(view.files), executable)


def _nothing(dist: Dist, wheels: bool, sdists: bool) -> str:
    release = f"{dist.name} {dist.version}"
    if wheels:
        return f"no wheel of {release} in the index is for this interpreter"
    if sdists:
        return f"the index has {release} as source only: it was built here"
    return f"no index offers {release}"


def _public(candidate: Candidate) -> Candidate:
    return replace(candidate, url=strip_credentials(candidate.url))


def _proof(candidate: Candidate, count: int, executable: frozenset[str]) -> WheelProof:
    if candidate.sha256 is None or candidate.size is None:
        raise ArtifactError(f"{candidate.filename} has neither hash nor size")
    files = f"{count} file{'s' if count != 1 else ''}"
    return WheelProof(
        candidate=_public(candidate),
        sha256=candidate.sha256,
        size=candidate.size,
        executable=executable,
        evidence=f"{files} equal the RECORD of {candidate.filename} {_whence(candidate)}",
        direct=candidate.index is None,
    )


def _whence(candidate: Candidate) -> str:
    """Where the wheel was found, without a path of this machine."""
    if candidate.index is None:
        return f"installed from {urlsplit(candidate.url).hostname or 'a local file'}"
    return f"at {urlsplit(candidate.index).hostname or local_place(candidate.index)}"


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
