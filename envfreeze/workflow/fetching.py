"""Bring a lock's artifacts here: from where the lock says, or from where its index has them now."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.model.lock import Artifact, Lock
from envfreeze.workflow.context import Context, index

if TYPE_CHECKING:
    from envfreeze.build.fetch import Elsewhere
    from envfreeze.resolve.index import Index


_KIND = "interpreters"


def fetch(
    lock: Lock, lock_path: Path, wanted: list[Artifact], offline: bool, context: Context
) -> dict[str, Path]:
    """sha256 to file for all of *wanted*.

    :raises ArtifactError: one cannot be had, or has other bytes.
    """
    from envfreeze.build.fetch import Fetcher

    if offline:
        return Fetcher(lock_path, context.cache, None).all(wanted, context.progress)
    asked = index(lock.machine.interpreter.facts, context)
    fetcher = Fetcher(lock_path, context.cache, asked.http, elsewhere(lock, asked))
    return fetcher.all(wanted, context.progress)


def fetch_interpreter(url: str, lock: Lock, offline: bool, context: Context) -> Path:
    """A published archive, which is compared with the lock once it is unpacked: remembered by
    its URL.

    :raises ArtifactError: it cannot be had.
    """
    key = hashlib.sha256(url.encode()).hexdigest()
    known = context.cache.read_note(_KIND, key)
    found = context.cache.find(known.decode("ascii", "replace")) if known else None
    if found is not None:
        return found
    if offline:
        raise ArtifactError(f"{url} is not in the cache, and the network is off (--offline)")
    http = index(lock.machine.interpreter.facts, context).http
    with context.progress.task("fetch"), context.cache.writing() as blob:
        http.download(url, blob)
    context.cache.write_note(_KIND, key, blob.sha256.encode())
    return context.cache.path_of(blob.sha256, "the interpreter")


def elsewhere(lock: Lock, asked: Index) -> Elsewhere:
    """Where the indexes that are configured now have the same file of the same release."""
    packages = [*lock.packages, *lock.machine.shadowed]
    releases = {p.artifact.sha256: (p.name, p.version or p.facts.version) for p in packages}

    def urls(artifact: Artifact) -> Iterator[str]:
        name, version = releases.get(artifact.sha256, (None, None))
        if name is None or version is None:
            return
        with contextlib.suppress(IndexUnavailableError):
            found = asked.candidates(name, version)
            for candidate in (*found.wheels, *found.sdists):
                same = candidate.sha256 in {None, artifact.sha256}
                if same and candidate.filename == artifact.filename and not candidate.local:
                    yield candidate.url

    return urls
