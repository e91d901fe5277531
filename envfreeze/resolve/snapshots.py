"""A .deb by exact version from an archive that keeps them all, when the current one has moved on.

Source: the machine-readable interface of Debian's snapshot service
(``/mr/binary/NAME/VERSION/binfiles``), as debsnap(1) and repro-env (``src/resolver/debian.rs``) use
it. It knows files by sha1, so a .deb is read whole before it is believed. Where it lies is said by
the caller or by apt's sources.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from envfreeze.errors import ArtifactError
from envfreeze.resolve.aptlists import Offer
from envfreeze.resolve.dpkg import Installed
from envfreeze.store import Cache, hash_file, old_digest

_NOTE = "deb-snapshot"
_ANSWER = 4 << 20
_MOST_BYTES = 2 << 30
"""Of one .deb."""
_SHA1 = re.compile(r"[0-9a-f]{40}")
_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_%:-]*")
_PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9.+~_:-]*)+")


class Writer(Protocol):
    """As :class:`envfreeze.resolve.http.Writer`."""

    size: int

    def write(self, data: bytes, /) -> int: ...


class Http(Protocol):
    """What is asked of :class:`envfreeze.resolve.http.Http`."""

    def download(self, url: str, writer: Writer, expect_size: int | None = None) -> None: ...


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the archive has a file."""

    url: str
    size: int
    sha1: str


class Snapshots:
    """One such archive. It is asked for one thing after the other, as it wants to be."""

    def __init__(self, base: str, http: Http | None, cache: Cache) -> None:
        self.base = base.rstrip("/")
        self._http = http
        self._cache = cache
        self._turn = threading.Lock()
        self._silent = False

    def offer(self, package: Installed, local: Path | None) -> Offer | None:
        """The archive's .deb of exactly this package, its bytes seen; None: it has none, or does
        not answer.

        :param local: a file that may have these bytes already.
        """
        key = hashlib.sha256(f"{self.base} {package.key} {package.version}".encode()).hexdigest()
        known = self._cache.read_note(_NOTE, key)
        if known is not None:
            try:
                return Offer(**msgspec.json.decode(known, type=dict[str, Any]))
            except (msgspec.MsgspecError, TypeError):
                pass
        with self._turn:
            offer = self._asked(package, local)
        if offer is not None:
            facts = {"url": offer.url, "size": offer.size, "sha256": offer.sha256}
            self._cache.write_note(_NOTE, key, json.dumps(facts).encode())
        return offer

    def _asked(self, package: Installed, local: Path | None) -> Offer | None:
        http = self._http
        if self._silent or http is None:
            return None
        try:
            for place in self._places(package, http):
                sha256 = _seen(place, local) or self._fetched(place, http)
                if sha256 is not None:
                    return Offer(url=place.url, size=place.size, sha256=sha256)
        except ArtifactError as error:
            self._silent = type(error).__name__ == "UnreachableError"
        return None

    def _places(self, package: Installed, http: Http) -> list[_Place]:
        name, version = quote(package.name, safe=""), quote(package.version, safe="")
        answer = _Bounded()
        url = f"{self.base}/mr/binary/{name}/{version}/binfiles?fileinfo=1"
        http.download(url, answer)
        try:
            return list(parse(answer.getvalue(), self.base, package.arch))
        except (ValueError, RecursionError):
            return []

    def _fetched(self, place: _Place, http: Http) -> str | None:
        """Into the cache, where a build will look for it."""
        with self._cache.writing() as blob:
            http.download(place.url, blob, place.size)
        path = self._cache.find(blob.sha256, place.size)
        return blob.sha256 if path is not None and old_digest(path, "sha1") == place.sha1 else None


class _Bounded:
    """In memory, an answer that has no size of its own to hold it to."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self.size += len(data)
        if self.size > _ANSWER:
            raise ArtifactError("the snapshot archive's answer has no end")
        return self._file.write(data)

    def getvalue(self) -> bytes:
        return self._file.getvalue()


def _seen(place: _Place, local: Path | None) -> str | None:
    """The sha256 of *local* if it is that very file."""
    if (
        local is None
        or local.stat().st_size != place.size
        or old_digest(local, "sha1") != place.sha1
    ):
        return None
    return hash_file(local)[0]


def parse(answer: bytes, base: str, arch: str) -> Iterator[_Place]:
    """The places of the files for *arch* in an answer; what is not as it should be is left out.

    :raises ValueError: it is no JSON.
    """
    document = json.loads(answer)
    if not isinstance(document, dict):
        return
    files = document.get("fileinfo")
    rows = document.get("result")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and row.get("architecture") == arch and isinstance(files, dict):
            sha1 = str(row.get("hash"))
            infos = files.get(sha1)
            for info in infos if isinstance(infos, list) else []:
                place = _place(info, base, sha1)
                if place is not None:
                    yield place


def _place(info: object, base: str, sha1: str) -> _Place | None:
    if not isinstance(info, dict):
        return None
    texts = [str(info.get(name)) for name in ("archive_name", "first_seen", "path", "name")]
    archive, time, path, name = texts
    size = info.get("size")
    fits = (
        _WORD.fullmatch(archive)
        and _TIME.fullmatch(time)
        and _PATH.fullmatch(path)
        and _WORD.fullmatch(name)
        and _SHA1.fullmatch(sha1)
    )
    if not fits or not isinstance(size, int) or not 0 < size <= _MOST_BYTES:
        return None
    url = f"{base}/archive/{archive}/{time}{path}/{quote(name, safe='+~:')}"
    return _Place(url=url, size=size, sha1=sha1)
