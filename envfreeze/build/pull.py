"""A lock back from a registry: from what is attached to an image, else out of the image itself.

The image's label names the digest of its lock; nothing with another digest is taken for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envfreeze.build.oci import LOCK_PATH
from envfreeze.build.push import ARTIFACT, LOCK, referrers_tag
from envfreeze.errors import ArtifactError
from envfreeze.render.dockerfile import LOCK_LABEL
from envfreeze.resolve import ociimage, tars
from envfreeze.resolve.ociimage import DIGEST, INDEX, Descriptor
from envfreeze.resolve.registry import Asked, Store
from envfreeze.store import Cache

_LIMIT = 256 << 20
"""Bytes that a lock may have."""
_MOST = 64
"""Locks attached to one image that are looked at: anybody who may write there can add some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A lock that has the digest that the image names."""

    text: bytes
    told_by: str
    image: str
    """The digest of the image's manifest."""
    packed: Mapping[str, Descriptor] = field(default_factory=dict)
    """sha256 to the blob, of what is attached with it."""


class Puller:
    """Looks for the lock of the images of one repository."""

    def __init__(self, asked: Asked, cache: Cache) -> None:
        self._asked = asked
        self._store: Store = asked.store(cache)

    def lock(self, name: str, platform: tuple[str, str]) -> Found:
        """The lock of the image that *name*, a tag or a digest, leads to.

        :raises ArtifactError: there is no such image, or no lock of it.
        """
        body, _ = self._asked.of_machine(name, platform)
        digest = f"sha256:{_sha256(body)}"
        manifest = ociimage.document(body, self._asked.place)
        config_at, layers = ociimage.parts(manifest, self._asked.place)
        config = ociimage.document(self._store.small(config_at), self._asked.place)
        wanted = _named(config, self._asked.place)
        found = self._attached(digest, wanted) or self._inside(layers, digest, wanted)
        if found is None:
            raise ArtifactError(
                f"{self._asked.place}@{digest} was built from the lock sha256:{wanted}, which is"
                " neither attached to it nor in its layers",
                hint="Whoever built it has the lock: envfreeze build LOCK --to docker --push"
                " attaches it.",
            )
        return found

    def file(self, blob: Descriptor) -> Path:
        """The file of a blob, its bytes checked."""
        return self._store.blob(blob).path

    def _attached(self, image: str, wanted: str) -> Found | None:
        for digest in self._referrers(image):
            what = f"{self._asked.place}@{digest}"
            manifest = ociimage.document(self._store.manifest(digest), what)
            layers = manifest.get("layers")
            if manifest.get("artifactType") != ARTIFACT or not isinstance(layers, list):
                continue
            blobs = [ociimage.descriptor(one, what) for one in layers]
            for blob in blobs:
                if blob.media_type == LOCK and blob.hex == wanted and blob.size <= _LIMIT:
                    return Found(
                        text=self.file(blob).read_bytes(),
                        told_by="what is attached to the image",
                        image=image,
                        packed={one.hex: one for one in blobs},
                    )
        return None

    def _referrers(self, image: str) -> Iterator[str]:
        """The digests of what says it is a lock of *image*; by the registry's own list, else by
        the tag that stands for it."""
        for path in (f"referrers/{image}", f"manifests/{referrers_tag(image)}"):
            answer = self._asked.find(path, INDEX)
            if answer is None:
                continue
            entries = ociimage.document(answer.body, f"{self._asked.place}: {path}").get(
                "manifests"
            )
            ours = [one for one in entries if _is_lock(one)] if isinstance(entries, list) else []
            yield from (str(one["digest"]) for one in ours[:_MOST])

    def _inside(self, layers: list[Descriptor], image: str, wanted: str) -> Found | None:
        """The lock as a file of the image: its layers from the last one down, no more of them than
        it takes."""
        for layer in reversed(layers):
            text = _member(self._store, layer)
            if text is not None and _sha256(text) == wanted:
                return Found(text=text, told_by=f"{LOCK_PATH} of the image", image=image)
        return None


def _named(config: Mapping[str, Any], what: str) -> str:
    own = config.get("config")
    labels = own.get("Labels") if isinstance(own, dict) else None
    found = labels.get(LOCK_LABEL) if isinstance(labels, dict) else None
    if not isinstance(found, str) or not DIGEST.fullmatch(f"sha256:{found}"):
        raise ArtifactError(
            f"{what}: the image has no label {LOCK_LABEL}",
            hint="Only images that envfreeze built name their lock.",
        )
    return found


def _is_lock(entry: object) -> bool:
    if not isinstance(entry, dict) or entry.get("artifactType") != ARTIFACT:
        return False
    digest = entry.get("digest")
    return isinstance(digest, str) and DIGEST.fullmatch(digest) is not None


def _member(store: Store, layer: Descriptor) -> bytes | None:
    """The lock in a layer; None: it has none."""
    try:
        with store.blob(layer).open() as file:
            for member, content in tars.members(ociimage.plain(file, layer.media_type)):
                name = "/" + member.name.removeprefix("./").lstrip("/")
                if name == LOCK_PATH and content is not None and member.size <= _LIMIT:
                    return tars.read(content, _LIMIT)
    except tars.DAMAGE as error:
        raise ArtifactError(f"the layer {layer.digest} is not a whole tar: {error}") from error
    return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
