"""An image as one archive that docker, podman and skopeo read: the same bytes each time.

A tar of an OCI layout (the OCI image specification 1.1, ``image-layout.md``) with docker's
``manifest.json`` beside its ``index.json`` (moby: ``image/tarexport``).
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from envfreeze.errors import ArtifactError
from envfreeze.resolve.ociimage import CONFIG, INDEX, LAYER, MANIFEST, Blob, Descriptor
from envfreeze.store import CHUNK, atomic_file

_REF = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written."""

    image_id: str
    """The digest of the configuration: what docker calls the image's id."""
    manifest: str
    layers: list[str]
    size: int
    """Bytes of the archive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What an archive is made of."""

    config: Mapping[str, Any]
    below: Sequence[Blob]
    """The base's layers."""
    above: Sequence[Blob]
    """Ours: uncompressed, and their bytes were checked a moment ago."""
    tag: str
    absent: frozenset[str] = frozenset()
    """Digests of layers that are left out: the engine that it is for has them, and docker's load
    does not look for what it has (moby: ``image/tarexport/load.go``)."""


def write(path: Path, content: Content, epoch: int) -> Written:
    """Write the archive to *path*, whole or not at all.

    :raises ArtifactError: a blob of the base has other bytes than its digest says.
    :raises DiskError: no room.
    """
    config = canonical(content.config)
    layers = [blob.descriptor for blob in (*content.below, *content.above)]
    manifest = canonical(_manifest(config, layers))
    # Each part is named by its digest: what a power failure leaves is known for what it is.
    with atomic_file(path, durable=False) as file:
        out = _Tar(file, epoch)
        for blob in content.below:
            if blob.descriptor.digest not in content.absent:
                out.blob(blob, checked=False)
        for blob in content.above:
            if blob.descriptor.digest not in content.absent:
                out.blob(blob, checked=True)
        for body in (config, manifest):
            out.text(f"blobs/sha256/{hashlib.sha256(body).hexdigest()}", body)
        out.text("index.json", canonical(_index(content, manifest)))
        out.text("manifest.json", canonical(_docker(content.tag, config, layers)))
        out.text("oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
        size = out.end()
    return Written(
        image_id=_digest(config),
        manifest=_digest(manifest),
        layers=[layer.digest for layer in layers],
        size=size,
    )


def manifest_digest(config: Mapping[str, Any], layers: Sequence[Descriptor]) -> str:
    """By what a registry would know this image."""
    return _digest(canonical(_manifest(canonical(config), layers)))


def canonical(document: object) -> bytes:
    """JSON that does not depend on the order of what it is made from."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _entry(kind: str, body: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(body), "size": len(body)}


def _manifest(config: bytes, layers: Sequence[Descriptor]) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _entry(CONFIG, config),
        "layers": [
            {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
            for layer in layers
        ],
    }


def _index(content: Content, manifest: bytes) -> dict[str, Any]:
    config = content.config
    own = {key: config[key] for key in ("architecture", "os", "variant") if config.get(key)}
    entry = {**_entry(MANIFEST, manifest), "platform": own, "annotations": {_REF: content.tag}}
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}


def _docker(tag: str, config: bytes, layers: Sequence[Descriptor]) -> list[dict[str, Any]]:
    name = tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"
    return [
        {
            "Config": f"blobs/sha256/{hashlib.sha256(config).hexdigest()}",
            "RepoTags": [name],
            "Layers": [f"blobs/sha256/{layer.hex}" for layer in layers],
        }
    ]


class _Tar:
    """The archive in the making. Its members' names are ours: digests and fixed words."""

    def __init__(self, file: IO[bytes], epoch: int) -> None:
        self._file = file
        self._epoch = epoch
        self._done: set[str] = set()
        for name in ("blobs", "blobs/sha256"):
            self._header(name, 0, directory=True)

    def _header(self, name: str, size: int, *, directory: bool = False) -> None:
        member = tarfile.TarInfo(name)
        member.mtime = self._epoch
        member.size = size
        member.mode = 0o755 if directory else 0o644
        member.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
        self._file.write(member.tobuf(tarfile.PAX_FORMAT))

    def text(self, name: str, body: bytes) -> None:
        self._header(name, len(body))
        self._file.write(body)
        self._pad(len(body))

    def blob(self, blob: Blob, *, checked: bool) -> None:
        """A layer, unless it is there: an image may have the same one twice."""
        if blob.descriptor.digest in self._done:
            return
        self._done.add(blob.descriptor.digest)
        self._header(f"blobs/sha256/{blob.descriptor.hex}", blob.descriptor.size)
        if not (checked and self._in_the_kernel(blob)):
            self._hashed(blob)
        self._pad(blob.descriptor.size)

    def _hashed(self, blob: Blob) -> None:
        digest, size = hashlib.sha256(), 0
        with blob.open() as source:
            while block := source.read(CHUNK):
                digest.update(block)
                self._file.write(block)
                size += len(block)
        if digest.hexdigest() != blob.descriptor.hex or size != blob.descriptor.size:
            raise ArtifactError(
                f"{blob.path} does not hold the layer that it should\n"
                f"expected {blob.descriptor.digest}\n     got sha256:{digest.hexdigest()}",
                hint="Run it again; a damaged file of the cache is fetched anew.",
            )

    def _in_the_kernel(self, blob: Blob) -> bool:
        """Copy without looking at the bytes (copy_file_range(2)); False: not here, nothing was
        copied."""
        if not hasattr(os, "copy_file_range"):
            return False
        self._file.flush()
        left = blob.descriptor.size
        with blob.path.open("rb") as source:
            source.seek(blob.offset)
            while left:
                try:
                    count = os.copy_file_range(source.fileno(), self._file.fileno(), left)
                except OSError:
                    if left == blob.descriptor.size:
                        return False
                    raise
                if not count:
                    raise ArtifactError(f"{blob.path} became shorter while it was copied")
                left -= count
        return True

    def _pad(self, size: int) -> None:
        self._file.write(bytes(-size % tarfile.BLOCKSIZE))

    def end(self) -> int:
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size


def layer_blob(path: Path, digest: str, size: int) -> Blob:
    """One of our own layers."""
    return Blob(
        descriptor=Descriptor(digest=f"sha256:{digest}", size=size, media_type=LAYER), path=path
    )
