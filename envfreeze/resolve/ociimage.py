"""An image as its parts: a manifest, a configuration and layers, wherever they lie.

Sources: the OCI image specification 1.1 (``manifest.md``, ``config.md``, ``image-layout.md``) and
docker's image manifest 2.2, which differs in the media types alone.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, cast

import msgspec

from envfreeze.errors import ArtifactError, UsageError
from envfreeze.resolve import tars

Platform = tuple[str, str]
"""Architecture and variant, as Go calls them."""

INDEX = "application/vnd.oci.image.index.v1+json"
INDEXES = (
    INDEX,
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MANIFESTS = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
_LAYERS = {
    LAYER: LAYER,
    f"{LAYER}+gzip": f"{LAYER}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{LAYER}+gzip",
}
"""Media type of a layer to what OCI calls the same bytes."""
LIMIT = 4 << 20
"""Bytes of a manifest or configuration: the specification asks registries to take 4 MiB."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_LAYERS = 127
_OTHER = "Build with --to docker, which leaves the base to the engine."


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a manifest says of a blob."""

    digest: str
    size: int
    media_type: str

    @property
    def hex(self) -> str:
        return self.digest.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A blob that lies in a file, or in a part of one."""

    descriptor: Descriptor
    path: Path
    offset: int = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes, which nobody has checked yet."""
        with part(self.path, self.offset, self.descriptor.size) as file:
            yield file


def plain(packed: IO[bytes], media_type: str) -> IO[bytes]:
    """A layer's bytes unpacked."""
    if media_type.endswith("+gzip"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=packed))
    return packed


@contextlib.contextmanager
def part(path: Path, offset: int, size: int) -> Iterator[IO[bytes]]:
    """*size* bytes of the file *path*, from *offset* on."""
    with path.open("rb") as file:
        file.seek(offset)
        yield cast("IO[bytes]", _Part(file, size))


class _Part:
    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        self._left -= len(data)
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A base image at hand."""

    name: str
    """``NAME:TAG`` where it has one that means something elsewhere, else empty."""
    digest: str
    """What it was asked for by, or its manifest's."""
    config: Mapping[str, Any]
    layers: list[Blob] = field(default_factory=list)
    diff_ids: list[str] = field(default_factory=list)
    """The digest of each layer's bytes unpacked."""


def document(body: bytes, what: str) -> dict[str, Any]:
    """A JSON object.

    :raises ArtifactError: it is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ArtifactError(f"{what} is not a JSON document")
    return found


def descriptor(entry: object, what: str) -> Descriptor:
    """:raises ArtifactError: *entry* names no blob."""
    values = entry if isinstance(entry, dict) else {}
    digest, size, kind = (values.get(key) for key in ("digest", "size", "mediaType"))
    named = isinstance(digest, str) and DIGEST.fullmatch(digest) is not None
    if named and type(size) is int and size >= 0 and isinstance(kind, str):
        return Descriptor(digest=str(digest), size=size, media_type=kind)
    raise ArtifactError(f"{what}: an entry names no blob by sha256")


def parts(manifest: Mapping[str, Any], what: str) -> tuple[Descriptor, list[Descriptor]]:
    """``(configuration, layers)`` of a manifest, the media types of the layers as OCI has them.

    :raises ArtifactError: it is not the manifest of an image.
    :raises UsageError: its layers are packed in a way that is not known here.
    """
    entries = manifest.get("layers")
    if not isinstance(entries, list) or len(entries) > _MAX_LAYERS:
        raise ArtifactError(f"{what}: its manifest has no list of layers, or a very long one")
    layers = []
    for entry in entries:
        one = descriptor(entry, what)
        kind = _LAYERS.get(one.media_type)
        if kind is None or (isinstance(entry, dict) and entry.get("urls")):
            raise UsageError(f"{what} has a layer of the kind {one.media_type!r}", hint=_OTHER)
        layers.append(Descriptor(digest=one.digest, size=one.size, media_type=kind))
    return descriptor(manifest.get("config"), what), layers


def diff_ids(config: Mapping[str, Any], count: int, what: str) -> list[str]:
    """The digests of the unpacked layers, as a configuration has them.

    :raises ArtifactError: it has not one for each of *count* layers.
    """
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or len(found) != count:
        raise ArtifactError(f"{what}: its configuration and its manifest disagree about its layers")
    if not all(isinstance(one, str) and DIGEST.fullmatch(one) for one in found):
        raise ArtifactError(f"{what}: its configuration names layers by something else than sha256")
    return found


def agree(name: Platform, wanted: Platform) -> bool:
    """``arm64`` and ``arm64/v8`` are the same; ``arm`` is not without its variant."""
    return name[0] == wanted[0] and (not wanted[1] or name[1] == wanted[1])


def check_platform(config: Mapping[str, Any], platform: Platform, what: str) -> None:
    """:raises UsageError: an image for another machine than the lock's."""
    name = str(config.get("architecture")), str(config.get("variant") or "")
    if config.get("os") != "linux" or not agree(name, platform):
        found = "/".join(part for part in (str(config.get("os")), *name) if part)
        wanted = "/".join(part for part in ("linux", *platform) if part)
        raise UsageError(
            f"{what} is for {found}, and the lock needs {wanted}",
            hint="Give a base for that machine with --base.",
        )


# --- layouts on this machine --------------------------------------------------------------


class Files(Protocol):
    """The files of a layout."""

    def find(self, name: str) -> tuple[Path, int, int] | None:
        """``(file, offset, size)`` of a file of the layout; None: there is none of that name."""


@dataclass(frozen=True, slots=True)
class _Directory:
    root: Path

    def find(self, name: str) -> tuple[Path, int, int] | None:
        path = self.root / name
        return (path, 0, path.stat().st_size) if path.is_file() else None


@dataclass(frozen=True, slots=True)
class _Archive:
    path: Path
    members: Mapping[str, tuple[int, int]]

    def find(self, name: str) -> tuple[Path, int, int] | None:
        found = self.members.get(name)
        return None if found is None else (self.path, *found)


def archive_files(path: Path) -> _Archive:
    """:raises UsageError: *path* is no plain tar."""
    found = {}
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isreg() and not member.issparse():
                    name = member.name.removeprefix("./")
                    found[name] = (member.offset_data, member.size)
    except (OSError, *tars.DAMAGE) as error:
        raise UsageError(
            f"{path} cannot be read as an archive of an image: {error}",
            hint="skopeo copy docker://NAME oci-archive:FILE makes one.",
        ) from error
    return _Archive(path, found)


def read_small(files: Files, name: str, what: str) -> bytes:
    """:raises ArtifactError: there is no such file, or a large one."""
    found = files.find(name)
    if found is None:
        raise ArtifactError(f"{what} has no {name}")
    path, offset, size = found
    if size > LIMIT:
        raise ArtifactError(f"{what}: {name} has {size} bytes")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def of_layout(files: Files, platform: Platform, what: str, ref: str = "") -> Image:
    """The image for *platform* in an OCI layout.

    :param ref: its ``org.opencontainers.image.ref.name``; empty: the only one.
    :raises ArtifactError: it is not whole.
    :raises UsageError: there is none, or more than one.
    """
    index = document(read_small(files, "index.json", what), what)
    chosen = _choose(files, index, platform, what, ref)
    manifest = document(_blob_bytes(files, chosen, what), what)
    config_at, layers = parts(manifest, what)
    config = document(_blob_bytes(files, config_at, what), what)
    check_platform(config, platform, what)
    return Image(
        name="",
        digest=chosen.digest,
        config=config,
        layers=[_blob(files, layer, what) for layer in layers],
        diff_ids=diff_ids(config, len(layers), what),
    )


def whole(path: Path) -> tuple[bytes, list[Blob]]:
    """``(manifest, what it names)`` of the only image in an OCI archive.

    :raises ArtifactError: it is not whole.
    """
    files, what = archive_files(path), str(path)
    index = document(read_small(files, "index.json", what), what)
    entries = index.get("manifests")
    if not isinstance(entries, list) or len(entries) != 1:
        raise ArtifactError(f"{what} does not hold one image")
    body = _blob_bytes(files, descriptor(entries[0], what), what)
    config_at, layers = parts(document(body, what), what)
    return body, [_blob(files, one, what) for one in (*layers, config_at)]


def _choose(
    files: Files, index: Mapping[str, Any], platform: Platform, what: str, ref: str
) -> Descriptor:
    """The manifest; an index in the index is looked into once."""
    entries = index.get("manifests")
    found: list[Descriptor] = []
    for entry in entries if isinstance(entries, list) else []:
        notes = entry.get("annotations") if isinstance(entry, dict) else None
        name = notes.get("org.opencontainers.image.ref.name") if isinstance(notes, dict) else None
        if not ref or name == ref:
            found += _manifests(files, entry, platform, what)
    unique = {one.digest: one for one in found}
    if len(unique) != 1:
        raise UsageError(
            f"{what} has {len(unique) or 'no'} images that it could be",
            hint="Name one by its ref.name: --base oci:DIRECTORY:NAME",
        )
    return next(iter(unique.values()))


def _manifests(
    files: Files, entry: dict[str, Any], platform: Platform, what: str, depth: int = 0
) -> Iterator[Descriptor]:
    one = descriptor(entry, what)
    own = entry.get("platform")
    if isinstance(own, dict):
        name = str(own.get("architecture")), str(own.get("variant") or "")
        if own.get("os") != "linux" or not agree(name, platform):
            return
    if one.media_type in MANIFESTS:
        yield one
    elif one.media_type in INDEXES and depth == 0:
        below = document(_blob_bytes(files, one, what), what).get("manifests")
        for other in below if isinstance(below, list) else []:
            if isinstance(other, dict):
                yield from _manifests(files, other, platform, what, depth + 1)


def _blob(files: Files, wanted: Descriptor, what: str) -> Blob:
    found = files.find(f"blobs/sha256/{wanted.hex}")
    if found is None or found[2] != wanted.size:
        raise ArtifactError(f"{what} lacks the blob {wanted.digest}, or has another size of it")
    return Blob(descriptor=wanted, path=found[0], offset=found[1])


def _blob_bytes(files: Files, wanted: Descriptor, what: str) -> bytes:
    body = read_small(files, f"blobs/sha256/{wanted.hex}", what)
    if hashlib.sha256(body).hexdigest() != wanted.hex:
        raise ArtifactError(f"{what}: {wanted.digest} has other bytes than that")
    return body


def at(text: str, platform: Platform) -> Image | None:
    """The image of ``oci:DIRECTORY[:NAME]`` or ``oci-archive:FILE[:NAME]``, as skopeo spells them;
    None: *text* names neither.

    :raises UsageError, ArtifactError: see :func:`of_layout`.
    """
    kind, _, rest = text.partition(":")
    if kind not in {"oci", "oci-archive"} or not rest:
        return None
    path, ref = Path(rest), ""
    if not path.exists():
        place, _, ref = rest.rpartition(":")
        path = Path(place or rest)
    if kind == "oci" and path.is_dir():
        return of_layout(_Directory(path), platform, str(path), ref)
    if kind == "oci-archive" and path.is_file():
        return of_layout(archive_files(path), platform, str(path), ref)
    kinds = {"oci": "directory", "oci-archive": "file"}
    raise UsageError(f"--base {text}: there is no such {kinds[kind]}")


# --- what docker save writes --------------------------------------------------------------


def of_docker_save(path: Path, name: str, digest: str, platform: Platform) -> Image:
    """The image in an archive as ``docker save`` makes it; its layers are unpacked ones.

    :raises ArtifactError: it is not what an engine writes.
    """
    files = archive_files(path)
    what = f"what the engine saved of {name}"
    try:
        entry = json.loads(read_small(files, "manifest.json", what))[0]
        config = document(read_small(files, str(entry["Config"]), what), what)
        names = [str(layer) for layer in entry["Layers"]]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{what} has no manifest that can be read") from error
    check_platform(config, platform, name)
    ids = diff_ids(config, len(names), what)
    layers = []
    for layer, own in zip(names, ids, strict=True):
        found = files.find(layer)
        if found is None:
            raise ArtifactError(f"{what} lacks its layer {layer}")
        blob = Descriptor(digest=own, size=found[2], media_type=LAYER)
        layers.append(Blob(descriptor=blob, path=found[0], offset=found[1]))
    return Image(name=name, digest=digest, config=config, layers=layers, diff_ids=ids)


# --- what is remembered of an image whose layers an engine has ------------------------------


class _Note(msgspec.Struct, frozen=True):
    config: dict[str, Any]
    diff_ids: list[str]
    sizes: list[int]


def to_note(image: Image) -> bytes:
    """What :func:`from_note` needs of an image whose layers are unpacked ones."""
    sizes = [blob.descriptor.size for blob in image.layers]
    note = _Note(config=dict(image.config), diff_ids=image.diff_ids, sizes=sizes)
    return msgspec.json.encode(note)


def from_note(note: bytes, name: str, digest: str) -> Image | None:
    """The image again, with layers that cannot be opened; None: the note is damaged."""
    try:
        found = msgspec.json.decode(note, type=_Note)
    except msgspec.MsgspecError:
        return None
    if len(found.sizes) != len(found.diff_ids):
        return None
    layers = [
        Blob(descriptor=Descriptor(digest=own, size=size, media_type=LAYER), path=Path(os.devnull))
        for own, size in zip(found.diff_ids, found.sizes, strict=True)
    ]
    return Image(
        name=name, digest=digest, config=found.config, layers=layers, diff_ids=found.diff_ids
    )
