"""Installed files as a ``.conda`` package again, the prefix in them undone.

CEP 35: an uncompressed zip of ``metadata.json``, ``info-*.tar.zst`` and ``pkg-*.tar.zst``. The
paths are those of the prefix, so a noarch package is packed as one that is placed as it is; what
its record says of it stays in the lock.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from envfreeze.errors import ArtifactError, MissingExtraError
from envfreeze.model.snapshot import CondaRecord, LooseFile
from envfreeze.probe import conda, condafiles
from envfreeze.resolve import tars, zips
from envfreeze.resolve.interpreter import EPOCH
from envfreeze.resolve.pack import pack_key, packed_once
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache, disk_errors

LOOSE = ("envfreeze-prefix-files", "1", "0")
"""Name, version and build of what holds the files that no package owns."""
_LEFT_OUT = frozenset({"missing", "pip", "another", "unreadable"})
_LEVEL = 6
_WINDOW = 128 << 20
"""Bytes of memory: what zstd's own level 22 takes."""
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the prefix lies."""

    prefix: str
    root: Root

    def host(self, path: str) -> str:
        # A directory of an image may be a link to one of this machine's.
        return self.root.host(self.root.entry(f"{self.prefix}/{path}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """One file as a package has it."""

    path: str
    data: bytes = b""
    link: str | None = None
    executable: bool = False
    placeholder: str | None = None
    binary: bool = False
    script: bool = False
    """It was made of an entry point."""

    def entry(self) -> dict[str, Any]:
        """Its row of ``info/paths.json``."""
        found: dict[str, Any] = {"_path": self.path, "path_type": "hardlink"}
        if self.link is not None:
            found["path_type"] = "softlink"
        found["sha256"] = hashlib.sha256(self.data).hexdigest()
        found["size_in_bytes"] = len(self.data)
        if self.placeholder is not None:
            found["prefix_placeholder"] = self.placeholder
            found["file_mode"] = "binary" if self.binary else "text"
        return found


def pack_record(place: Place, record: CondaRecord, platform: str, cache: Cache) -> str:
    """The sha256 of *record* packed from its installed files, in *cache*.

    :raises ArtifactError: one of them cannot be read, or changed meanwhile.
    :raises MissingExtraError: nothing here compresses with zstandard.
    """
    known = (record.name, record.version, record.build, record.build_number, record.depends)
    key = pack_key("conda", place.prefix, known, record.constrains, record.tree, record.odd)

    def make() -> tuple[str, int]:
        paths = _paths(place, record)
        odd = dict(record.odd)
        chosen = [path for path in paths if odd.get(path.path) not in _LEFT_OUT]
        files = (_of_record(place, path) for path in chosen if _counts(path))
        return _pack(_index(record, platform), files, cache)

    return packed_once(cache, key, make)


def pack_loose(place: Place, files: list[LooseFile], platform: str, cache: Cache) -> str:
    """The same, of files that no package owns."""
    rows = [(f.path, f.sha256, f.link, f.executable) for f in files]

    def make() -> tuple[str, int]:
        name, version, build = LOOSE
        index = {"name": name, "version": version, "build": build, "build_number": 0}
        index |= {"depends": [], "constrains": [], "subdir": platform}
        return _pack(index, (_of_loose(place, file) for file in files), cache)

    return packed_once(cache, pack_key("conda-loose", place.prefix, rows), make)


def installed(place: Place, record: CondaRecord) -> list[Any]:
    """The files of *record* in its prefix that its package has, too: no scripts that were made
    of entry points, no bytecode.

    :raises ArtifactError: the record cannot be read.
    """
    odd = dict(record.odd)
    return [
        path
        for path in _paths(place, record)
        if _counts(path)
        and odd.get(path.path) not in _LEFT_OUT
        and not (path.kind or "").endswith("entry_point")
    ]


def bare(place: Place, path: Any) -> bytes:
    """One of :func:`installed` as its package has it: the prefix undone.

    :raises ArtifactError: it cannot be read.
    """
    return _of_record(place, path).data


def members(
    path: Path, part: Literal["info", "pkg"]
) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """What one part of a ``.conda`` file holds, forwards.

    :raises ArtifactError: it is none, or damaged.
    :raises MissingExtraError: nothing here unpacks it.
    """
    zstandard = _zstandard("unpacking")
    with zips.open_zip(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".tar.zst")]
        name = next((name for name in names if name.startswith(f"{part}-")), None)
        if name is None:
            raise ArtifactError(f"{path.name} has no part {part}")
        unpack = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        try:
            with archive.open(name) as packed, unpack.stream_reader(packed) as plain:
                yield from tars.members(plain)
        except (zstandard.ZstdError, *zips.DAMAGE) as error:
            raise ArtifactError(f"{path.name} is damaged: {error}") from error


def _zstandard(what: str) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError(
            f"{what} conda packages needs zstandard, which is not installed",
            hint="pip install 'envfreeze[conda]'",
        ) from error
    return zstandard


def _index(record: CondaRecord, platform: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": record.name,
        "version": record.version,
        "build": record.build,
        "build_number": record.build_number,
        "depends": record.depends,
        "constrains": record.constrains,
        "license": record.license,
        "timestamp": record.timestamp,
        "subdir": record.subdir or platform,
    }
    return {key: value for key, value in found.items() if value is not None}


def _paths(place: Place, record: CondaRecord) -> list[Any]:
    where = f"{place.prefix}/{conda.META}/{record.file}"
    try:
        document = json.loads(Path(place.root.host(where)).read_bytes())
        found, _ = conda.paths_of(document)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise ArtifactError(f"cannot read {where}: {error}") from error
    return list(found)


def _counts(path: Any) -> bool:
    return bool(conda.counts(path))  # type: ignore[no-untyped-call]


def _of_record(place: Place, path: Any) -> _File:
    script = (path.kind or "").endswith("entry_point")
    found = _read(place, path.path)
    if found.link is not None:
        return found
    data = found.data
    if path.placeholder is not None:
        whole = _original(place, path, data)
        if whole is not None:
            return _file(found, whole, path.placeholder, binary=path.binary)
    elif not script and hashlib.sha256(data).hexdigest() in {path.installed, path.sha256}:
        return found  # The prefix may be in it by chance.
    bare, placeholder, binary = condafiles.unbound(data, place.prefix, path.placeholder)  # type: ignore[no-untyped-call]
    return _file(found, bare, placeholder, binary=binary, script=script)


def _original(place: Place, path: Any, data: bytes) -> bytes | None:
    """The file as its package had it, where the record tells that it is."""
    bare: bytes | None = condafiles.undo(data, place.prefix, path.placeholder, path.binary)  # type: ignore[no-untyped-call]
    if bare is None or hashlib.sha256(bare).hexdigest() != path.sha256:
        return None
    return bare


def _of_loose(place: Place, file: LooseFile) -> _File:
    found = _read(place, file.path)
    if found.link is not None:
        return found
    bare, placeholder, binary = condafiles.unbound(found.data, place.prefix, None)  # type: ignore[no-untyped-call]
    if hashlib.sha256(bare).hexdigest() != file.sha256:
        raise ArtifactError(
            f"{place.prefix}/{file.path} changed while it was being captured",
            hint="Let it settle and capture again.",
        )
    return _file(found, bare, placeholder, binary=binary)


def _file(
    found: _File, data: bytes, placeholder: str | None, *, binary: bool, script: bool = False
) -> _File:
    return _File(
        path=found.path,
        data=data,
        executable=found.executable,
        placeholder=placeholder,
        binary=binary,
        script=script,
    )


def _read(place: Place, path: str) -> _File:
    host = place.host(path)
    try:
        status = os.lstat(host)
        if stat.S_ISLNK(status.st_mode):
            link = os.readlink(host)  # noqa: PTH115
            head = place.prefix.rstrip("/") + "/"
            if os.path.normpath(link).startswith(head):
                link = os.path.relpath(link, os.path.dirname(f"{head}{path}"))  # noqa: PTH120
            return _File(path=path, link=link)
        if not stat.S_ISREG(status.st_mode):
            raise ArtifactError(f"{place.prefix}/{path} is not a plain file")
        data = Path(host).read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"cannot read {place.prefix}/{path}: {error.strerror or error}",
            hint="Let it settle and capture again.",
        ) from error
    return _File(path=path, data=data, executable=bool(status.st_mode & 0o111))


# --- the archive -------------------------------------------------------------------------


def _pack(index: dict[str, Any], files: Iterable[_File], cache: Cache) -> tuple[str, int]:
    stem = f"{index['name']}-{index['version']}-{index['build']}"
    entries: list[dict[str, Any]] = []
    scripts: list[str] = []
    with disk_errors(cache.root), tempfile.TemporaryDirectory(prefix="envfreeze-") as scratch:
        package = Path(scratch, "pkg.tar.zst")
        with package.open("wb") as out:
            _compress(_members(files, entries, scripts), out)
        info = io.BytesIO()
        _compress(_info(index, entries, scripts), info)
        whole = Path(scratch, "whole.conda")
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_member("metadata.json"), b'{"conda_pkg_format_version": 2}')
            with (
                archive.open(_member(f"pkg-{stem}.tar.zst"), "w", force_zip64=True) as target,
                package.open("rb") as source,
            ):
                for chunk in iter(lambda: source.read(1 << 20), b""):
                    target.write(chunk)
            archive.writestr(_member(f"info-{stem}.tar.zst"), info.getvalue())
        return cache.add(whole)


def _member(name: str) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name, _ZIP_EPOCH)
    found.external_attr = 0o100644 << 16
    return found


def _members(
    files: Iterable[_File], entries: list[dict[str, Any]], scripts: list[str]
) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The files; what ``info`` has to say of them is collected on the way."""
    for file in sorted(files, key=lambda one: one.path):
        entries.append(file.entry())
        if file.script:
            scripts.append(file.path)
        info = tarfile.TarInfo(file.path)
        info.mtime = EPOCH
        info.mode = 0o755 if file.executable else 0o644
        if file.link is not None:
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, file.link, 0o777
        else:
            info.size = len(file.data)
        yield info, file.data


def _info(
    index: dict[str, Any], entries: list[dict[str, Any]], scripts: list[str]
) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    listed = "".join(f"{entry['_path']}\n" for entry in entries)
    documents = {
        "info/envfreeze.json": {"entry_points": scripts},
        "info/files": listed,
        "info/index.json": index,
        "info/paths.json": {"paths": entries, "paths_version": 1},
    }
    for name, document in documents.items():
        text = document if isinstance(document, str) else json.dumps(document, sort_keys=True)
        data = text.encode("utf-8")
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(data), 0o644, EPOCH
        yield info, data


def _compress(members: Iterable[tuple[tarfile.TarInfo, bytes]], out: IO[bytes]) -> None:
    zstandard = _zstandard("packing")
    with (
        zstandard.ZstdCompressor(level=_LEVEL).stream_writer(out, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for info, data in members:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
