"""Bring every artifact of a lock to this machine, by sha256: the last step with a network."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Protocol

from envfreeze.errors import ArtifactError
from envfreeze.model.lock import Artifact
from envfreeze.progress import Progress
from envfreeze.store import BlobWriter, Cache, hash_file, open_artifact

WORKERS = 8

Elsewhere = Callable[[Artifact], Iterable[str]]
"""Other URLs that are said to have the bytes of an artifact."""


class Downloads(Protocol):
    """What fetching needs of :class:`envfreeze.resolve.http.Http`."""

    def download(self, url: str, writer: BlobWriter, expect_size: int | None = None) -> None: ...


class _Interruptible(BlobWriter):
    """A download that ends when the others have failed, instead of running on for minutes."""

    def __init__(self, blob: BlobWriter, stop: threading.Event) -> None:
        self._blob = blob
        self._stop = stop
        self.size = 0

    def write(self, data: bytes) -> int:
        if self._stop.is_set():
            raise ArtifactError("stopped: another download failed")
        self.size += len(data)
        return self._blob.write(data)


def _other_bytes(artifact: Artifact, error: ArtifactError) -> ArtifactError:
    if "expected sha256" not in str(error):
        return error
    return ArtifactError(
        f"{artifact.filename} is not the file that the lock names\n{error}",
        hint="The index serves other bytes now; give a mirror that has the original with "
        "PIP_INDEX_URL, and build again.",
    )


class Fetcher:
    """Finds artifacts beside the lock, in the cache, or on the network, in this order."""

    def __init__(
        self,
        lock_path: Path,
        cache: Cache,
        http: Downloads | None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """
        :param http: None: offline, what is not here is an error.
        :param elsewhere: asked where the locked URL does not give what the lock names.
        """
        self._lock_path = lock_path
        self._cache = cache
        self._http = http
        self._elsewhere = elsewhere or (lambda _: ())
        self._stop = threading.Event()

    def one(self, artifact: Artifact) -> Path:
        """The file of *artifact*, its bytes checked.

        :raises ArtifactError: it cannot be had, or has other bytes.
        """
        if artifact.path is not None:
            return open_artifact(self._lock_path, artifact)
        cached = self._cached(artifact)
        return cached if cached is not None else self._download(artifact)

    def _cached(self, artifact: Artifact) -> Path | None:
        path = self._cache.find(artifact.sha256, artifact.size)
        if path is None:
            return None
        if hash_file(path)[0] == artifact.sha256:
            return path
        self._cache.discard(artifact.sha256)
        return None

    def _download(self, artifact: Artifact) -> Path:
        if self._http is None:
            raise ArtifactError(
                f"{artifact.filename} is not in the cache, and the network is off (--offline)",
                hint="Run once without --offline; everything fetched is kept.",
            )
        try:
            self._from(self._http, str(artifact.url), artifact)
        except ArtifactError as error:
            if not self._from_elsewhere(self._http, artifact):
                raise _other_bytes(artifact, error) from error
        return self._cache.path_of(artifact.sha256, artifact.filename)

    def _from(self, http: Downloads, url: str, artifact: Artifact) -> None:
        with self._cache.writing(expect=artifact.sha256) as blob:
            http.download(url, _Interruptible(blob, self._stop), artifact.size)

    def _from_elsewhere(self, http: Downloads, artifact: Artifact) -> bool:
        """A file that was moved, that is behind a login in its URL, or on today's mirror."""
        if self._stop.is_set():
            return False
        for url in self._elsewhere(artifact):
            with contextlib.suppress(ArtifactError):
                self._from(http, url, artifact)
                return True
        return False

    def all(self, artifacts: Iterable[Artifact], progress: Progress) -> dict[str, Path]:
        """sha256 to file for all of *artifacts*, fetched in parallel."""
        wanted = {artifact.sha256: artifact for artifact in artifacts}
        found: dict[str, Path] = {}
        with (
            progress.task("fetch", sum(artifact.size for artifact in wanted.values())) as advance,
            ThreadPoolExecutor(WORKERS) as pool,
        ):
            futures = {pool.submit(self.one, a): sha256 for sha256, a in wanted.items()}
            try:
                for future in as_completed(futures):
                    sha256 = futures[future]
                    found[sha256] = future.result()
                    advance(wanted[sha256].size)
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found
