"""Base images for tests, made by hand: layers, a configuration and a manifest in a layout."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(entries: Mapping[str, bytes | str | int | None]) -> bytes:
    """A tar of files (bytes), links (text), directories of a mode (number; None: 0755)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, value in entries.items():
            info = tarfile.TarInfo(name)
            info.mtime = 1_000_000_000
            content = b""
            if isinstance(value, bytes):
                content, info.size, info.mode = value, len(value), 0o644
            elif isinstance(value, str):
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, value, 0o777
            else:
                info.type, info.mode = tarfile.DIRTYPE, 0o755 if value is None else value
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def layout(
    into: Path,
    layers: Sequence[bytes],
    config: Mapping[str, Any] | None = None,
    *,
    gzipped: bool = False,
    **changes: Any,
) -> Path:
    """An OCI layout of an image of these tars.

    :param config: the ``config`` of the configuration.
    :param changes: to the configuration itself.
    """
    blobs = into / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, Any]:
        (blobs / digest(data).partition(":")[2]).write_bytes(data)
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    values = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in layers]},
        "history": [{"created_by": "by hand"} for _ in layers],
    } | changes
    kind = f"{LAYER}+gzip" if gzipped else LAYER
    entries = [put(gzip.compress(one, 1, mtime=0) if gzipped else one, kind) for one in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": put(json.dumps(values).encode(), CONFIG),
        "layers": entries,
    }
    index = {"schemaVersion": 2, "manifests": [put(json.dumps(manifest).encode(), MANIFEST)]}
    (into / "index.json").write_text(json.dumps(index))
    (into / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return into
