"""The layers of an image: each a tar in the cache, made once and found again by what it is of.

A layer is uncompressed, so that its digest is its DiffID and it is hashed once. Which one a
distribution is in depends on the lock alone, and each large one has its own: when one package
changes, one layer is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from envfreeze.build import sinks
from envfreeze.build.sinks import TarSink
from envfreeze.errors import EnvfreezeError
from envfreeze.model.lock import Package
from envfreeze.progress import Advance
from envfreeze.store import Cache

LARGE = 8 << 20
"""Bytes of a wheel that has a layer of its own."""
MOST = 24
"""How many of these there are at most; docker takes 127 layers in all."""
BUCKETS = 8
"""How many layers the small ones are spread over, by name."""
_FEW = 32 << 20
"""Bytes of small wheels that are not worth being spread."""
_KIND = "layers"
_FORMAT = b"3"
"""Raise it with the way that a layer is written: it is part of what a layer is known by."""


Put = Callable[[TarSink], None]
"""Writes the content of a layer."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache remembers of a layer."""

    digest: str
    size: int
    files: list[str]
    links: list[str]
    directories: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A layer to make."""

    title: str
    """For the image's history: words of ours, nothing that a lock says."""
    key: str
    """sha256 (hex) over everything that its bytes depend on."""
    own: str
    put: Put
    weight: int
    """Bytes of what it is made from: the largest is begun first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that lies in the cache, its bytes checked."""

    title: str
    note: Note
    path: Path


def groups(packages: Sequence[Package]) -> list[list[Package]]:
    """The distributions by the layer that they are in, each in the lock's order; empty ones left
    out. Small ones are spread by their names.

    The largest come first, for an engine that has the layers below need not take them again; by
    powers of two, so that another version seldom changes places."""
    by_size = sorted(packages, key=lambda p: (-p.artifact.size, p.name, p.facts.info))
    large = [p for p in by_size if p.artifact.size >= LARGE][:MOST]
    large.sort(key=lambda p: (-p.artifact.size.bit_length(), p.name, p.facts.info))
    alone = {id(package) for package in large}
    small = [package for package in packages if id(package) not in alone]
    count = BUCKETS if sum(package.artifact.size for package in small) > _FEW else 1
    buckets: list[list[Package]] = [[] for _ in range(count)]
    for package in small:
        digest = hashlib.sha256(package.name.encode("utf-8", "surrogatepass")).digest()
        buckets[digest[0] % count].append(package)
    return [*([package] for package in large), *(bucket for bucket in buckets if bucket)]


def key(*values: object) -> str:
    """sha256 (hex) over *values*, each something that JSON holds."""
    digest = hashlib.sha256(_FORMAT)
    for value in values:
        data = msgspec.json.encode(value)
        digest.update(b"%d " % len(data) + data)
    return digest.hexdigest()


def known(key: str, title: str, cache: Cache) -> Layer | None:
    """The layer as it was made before, if its bytes are still those."""
    data = cache.read_note(_KIND, key)
    if data is None:
        return None
    with contextlib.suppress(msgspec.MsgspecError):
        note = msgspec.json.decode(data, type=Note)
        path = cache.find_whole(note.digest, note.size)
        if path is not None:
            return Layer(title=title, note=note, path=path)
    return None


class Maker:
    """Makes layers, several at a time."""

    def __init__(self, cache: Cache, below: sinks.Surroundings, epoch: int) -> None:
        self._cache = cache
        self._below = below
        self._epoch = epoch
        self._stop = threading.Event()

    def all(self, parts: Sequence[Part], done: Advance) -> list[Layer]:
        """Every layer, in the order of *parts*.

        :raises EnvfreezeError: one of them cannot be made.
        """
        order = sorted(range(len(parts)), key=lambda i: -parts[i].weight)
        futures: dict[int, Future[Layer]] = {}
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            try:
                for index in order:
                    futures[index] = pool.submit(self._one, parts[index], done)
                return [futures[index].result() for index in range(len(parts))]
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, part: Part, done: Advance) -> Layer:
        if self._stop.is_set():
            raise EnvfreezeError("stopped: another layer failed")
        found = self.one(part)
        done(1)
        return found

    def one(self, part: Part) -> Layer:
        """The layer as it was made before, or made now.

        :raises EnvfreezeError: it cannot be made.
        """
        return known(part.key, part.title, self._cache) or self._make(part)

    def _make(self, part: Part) -> Layer:
        sink, digest, size = self._written(part, {})
        if sink.repeated:
            self._cache.discard(digest)
            sink, digest, size = self._written(part, sink.repeated)
        note = Note(
            digest=digest,
            size=size,
            files=sorted(sink.files),
            links=sorted(sink.links),
            directories=sorted(sink.directories),
        )
        with contextlib.suppress(UnicodeError):
            self._cache.write_note(_KIND, part.key, msgspec.json.encode(note))
        path = self._cache.path_of(digest, "a layer", size)
        return Layer(title=part.title, note=note, path=path)

    def _written(self, part: Part, writes: Mapping[str, int]) -> tuple[TarSink, str, int]:
        """The part in the cache: what it holds, its sha256 and its size.

        :param writes: as :class:`TarSink`'s.
        """
        with self._cache.writing() as blob:
            out = _Stoppable(blob, self._stop)
            with TarSink(out, part.own, self._epoch, self._below, writes) as sink:
                part.put(sink)
            return sink, blob.sha256, blob.size


class _Stoppable:
    """A layer in the making that ends when another one has failed."""

    def __init__(self, blob: sinks.Writable, stop: threading.Event) -> None:
        self._blob = blob
        self._stop = stop

    def write(self, data: bytes) -> object:
        if self._stop.is_set():
            raise EnvfreezeError("stopped: another layer failed")
        return self._blob.write(data)


def check_together(layers: Iterable[Layer]) -> bool:
    """Whether no two layers have a file in the same place.

    :raises LockError: one has a file below a link or a link in place of a directory of another:
        what a single tar refuses, too.
    """
    notes = [layer.note for layer in layers]
    directories = {path for note in notes for path in note.directories}
    links = {path for note in notes for path in note.links}
    files = Counter(path for note in notes for path in {*note.files, *note.links})
    for path in sorted(directories & links):
        raise sinks.through_link(path)
    for path in sorted(directories & files.keys()):
        raise sinks.file_and_directory(path)
    return all(count == 1 for count in files.values())
