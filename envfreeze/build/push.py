"""An image archive into a registry, and the lock beside it as a referrer of the image.

Sources: the OCI distribution specification 1.1 ("Pushing a blob monolithically", "Mounting a blob
from another repository", "Pushing Manifests with Subject", "Referrers Tag Schema") and the OCI
image specification 1.1 ("Guidelines for Artifact Usage").

The lock and each file that it packs is a blob of its own, under the digest that the lock itself
names: what another lock has brought before is not sent again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from envfreeze.build.ociarchive import canonical
from envfreeze.errors import ArtifactError, IndexUnavailableError
from envfreeze.model.lock import Artifact, Lock, artifacts
from envfreeze.progress import Advance, Progress
from envfreeze.resolve import ociimage
from envfreeze.resolve.ociimage import INDEX, MANIFEST, Blob, Descriptor
from envfreeze.resolve.registry import Asked
from envfreeze.store import CHUNK, hash_file, open_artifact

ARTIFACT = "application/vnd.envfreeze.lock.v1"
"""The type of the artifact, and the start of what its parts are."""
LOCK = f"{ARTIFACT}+toml"
PACKED = "application/vnd.envfreeze.packed.v1"
_EMPTY = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"
_THERE = {200, 301, 302, 303, 307, 308}
"""A redirect to the storage is a yes, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A lock that a registry holds beside an image."""

    digest: str
    tag: str = ""
    """Where it is listed; empty: the registry lists it itself (the referrers API)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is attached."""

    lock: Lock
    path: Path
    sha256: str


class Pusher:
    """Uploads to one repository.

    :param mounts: other repositories of the registry that may have a blob, and need not send it.
    """

    def __init__(self, asked: Asked, progress: Progress, mounts: Sequence[str] = ()) -> None:
        self._asked = asked
        self._progress = progress
        self._mounts = mounts

    def image(self, archive: Path, tag: str) -> Descriptor:
        """Push the image of an OCI archive, its bytes as they are.

        :raises ArtifactError: the registry refuses, or does not answer.
        """
        manifest, blobs = ociimage.whole(archive)
        self.blobs(blobs)
        self._put(tag, manifest, MANIFEST)
        return _described(manifest, MANIFEST)

    def blobs(self, blobs: Sequence[Blob]) -> None:
        """Upload what is missing."""
        wanted = {blob.descriptor.digest: blob for blob in blobs}
        total = sum(blob.descriptor.size for blob in wanted.values())
        with self._progress.task("push", total) as advance, _told_how_to_go_on():
            for blob in wanted.values():
                if self._has(blob.descriptor) or self._mounted(blob.descriptor):
                    advance(blob.descriptor.size)
                else:
                    self._upload(blob, advance)

    def attach(self, subject: Descriptor, beside: Beside) -> Attached:
        """Push the lock and what it packs, as an artifact that refers to *subject*.

        :raises ArtifactError: a packed file is missing or damaged, or the registry refuses.
        """
        blobs = [_blob(beside.path, beside.sha256, LOCK), *packed_blobs(beside)]
        self.blobs(blobs)
        self._small(b"{}")
        body = canonical(_artifact(subject, blobs, beside))
        own = _described(body, MANIFEST)
        answer = self._put(own.digest, body, MANIFEST)
        if answer.get("oci-subject") == subject.digest:
            return Attached(digest=own.digest)
        return Attached(digest=own.digest, tag=self._list(subject, own))

    def _list(self, subject: Descriptor, own: Descriptor) -> str:
        """Add *own* to the index under the tag that stands for the referrers of *subject*, as the
        client has to where the registry knows no referrers."""
        tag = referrers_tag(subject.digest)
        known = self._asked.find(f"manifests/{tag}", INDEX)
        entries: list[Any] = []
        if known is not None:
            found = ociimage.document(known.body, f"{self._asked.place}:{tag}").get("manifests")
            if not isinstance(found, list):
                raise ArtifactError(f"{self._asked.place}:{tag} is no list of referrers")
            entries = [one for one in found if not _is(one, own.digest)]
        entries.append({**_entry(own), "artifactType": ARTIFACT})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        self._put(tag, canonical(index), INDEX)
        return tag

    # --- one blob ------------------------------------------------------------------------

    def _has(self, blob: Descriptor) -> bool:
        answer = self._asked.send("HEAD", f"blobs/{blob.digest}")
        if answer.status not in {404, *_THERE}:
            raise self._asked.refusal(answer)
        return answer.status in _THERE

    def _mounted(self, blob: Descriptor) -> bool:
        """Whether another repository had it. Where not, an upload was begun that nobody ends; the
        registry drops those."""
        for name in self._mounts:
            query = urlencode({"mount": blob.digest, "from": name})
            if self._asked.send("POST", f"blobs/uploads/?{query}").status == 201:
                return True
        return False

    def _upload(self, blob: Blob, advance: Advance) -> None:
        place = self._begun()
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(blob.descriptor.size),
        }
        answer = self._asked.send("PUT", _at(place, blob), headers, lambda: _read(blob, advance))
        if answer.status != 201:
            raise self._asked.refusal(answer)

    def _begun(self) -> str:
        answer = self._asked.send("POST", "blobs/uploads/")
        if answer.status != 202 or not answer.headers.get("location"):
            raise self._asked.refusal(answer)
        return answer.headers["location"]

    def _small(self, body: bytes) -> None:
        described = _described(body, _EMPTY)
        if self._has(described):
            return
        headers = {"Content-Type": "application/octet-stream"}
        url = _at(self._begun(), Blob(descriptor=described, path=Path()))
        answer = self._asked.send("PUT", url, headers, lambda: body)
        if answer.status != 201:
            raise self._asked.refusal(answer)

    def _put(self, name: str, body: bytes, kind: str) -> Mapping[str, str]:
        answer = self._asked.send("PUT", f"manifests/{name}", {"Content-Type": kind}, lambda: body)
        if answer.status != 201:
            raise self._asked.refusal(answer)
        return answer.headers


def referrers_tag(digest: str) -> str:
    """The tag that stands for the referrers of *digest*."""
    return digest.replace(":", "-", 1)


def packed(lock: Lock) -> list[Artifact]:
    """What lies beside a lock, each once."""
    found = {one.sha256: one for one in artifacts(lock) if one.path is not None}
    return list(found.values())


def packed_blobs(beside: Beside) -> list[Blob]:
    """The packed files, their bytes checked.

    :raises ArtifactError: one is missing, or has other bytes.
    """
    return [
        _blob(open_artifact(beside.path, one), one.sha256, PACKED) for one in packed(beside.lock)
    ]


def beside(lock: Lock, path: Path) -> Beside:
    """A lock that is to be attached."""
    return Beside(lock=lock, path=path, sha256=hash_file(path)[0])


def _artifact(subject: Descriptor, blobs: Sequence[Blob], beside: Beside) -> dict[str, Any]:
    names = {one.sha256: one.filename for one in packed(beside.lock)} | {beside.sha256: "env.lock"}
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": _entry(_described(b"{}", _EMPTY)),
        "layers": [
            {**_entry(blob.descriptor), "annotations": {_TITLE: names[blob.descriptor.hex]}}
            for blob in blobs
        ],
        "subject": _entry(subject),
        "annotations": {"io.envfreeze.id": beside.lock.machine.id},
    }


def _blob(path: Path, sha256: str, kind: str) -> Blob:
    size = path.stat().st_size
    return Blob(
        descriptor=Descriptor(digest=f"sha256:{sha256}", size=size, media_type=kind), path=path
    )


def _described(body: bytes, kind: str) -> Descriptor:
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    return Descriptor(digest=digest, size=len(body), media_type=kind)


def _entry(one: Descriptor) -> dict[str, Any]:
    return {"mediaType": one.media_type, "digest": one.digest, "size": one.size}


def _is(entry: object, digest: str) -> bool:
    return isinstance(entry, dict) and entry.get("digest") == digest


def _at(place: str, blob: Blob) -> str:
    """Where an upload that was begun at *place* ends."""
    joint = "&" if "?" in place else "?"
    return f"{place}{joint}{urlencode({'digest': blob.descriptor.digest})}"


def _read(blob: Blob, advance: Advance) -> Iterator[bytes]:
    with blob.open() as file:
        while block := file.read(CHUNK):
            yield block
            advance(len(block))


@contextlib.contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except IndexUnavailableError as error:
        hint = "Run the same command again: what the registry has by then is not sent twice."
        raise IndexUnavailableError(str(error), hint=hint) from error
