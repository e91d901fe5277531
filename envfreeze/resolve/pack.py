"""Keep what cannot be proved: a wheel rebuilt from the installed files, a tar of unowned ones.

Both are deterministic: sorted members, fixed times, modes reduced to executable or not.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from envfreeze.errors import ArtifactError
from envfreeze.model.identity import normalize, owned_rows
from envfreeze.model.snapshot import Dist, Interpreter, LooseFile, Row, Site, Source, SourceFile
from envfreeze.model.survey import claimed_sha256
from envfreeze.probe import files as probe_files
from envfreeze.probe import pointers
from envfreeze.resolve import gzips
from envfreeze.resolve.rootfs import Root
from envfreeze.store import CHUNK, BlobWriter, Cache

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold."""

_MADE_UP = b"Wheel-Version: 1.0\nGenerator: envfreeze (the installed WHEEL is lost)\n"
"""How a WHEEL begins that was written for a distribution that has none."""

FORMAT = 3
"""Raise it when the same files give other bytes: it is part of what packs are remembered by."""


Roots = tuple[tuple[str, str], ...]
"""``(directory, key)`` of source trees, as :func:`envfreeze.probe.pointers.neutral` takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the files of a site directory's distributions lie, and who runs its scripts.

    Paths are those that the environment itself sees; :attr:`root` leads to their files.
    """

    site: Path
    prefix: Path | None
    headers: Path | None
    interpreters: frozenset[str]
    sources: Roots = ()
    """The source trees, for which pointers get a placeholder."""
    root: Root = field(default_factory=Root)
    _spelt: dict[str, list[str]] = field(default_factory=dict, init=False, compare=False)

    # Asked for each file of an environment: text where a Path would take as long as the file.
    def file(self, row: Row, name: str) -> str:
        """The file of *row* on the disk, as we can open it."""
        return self.root.at(self.full(row, name))

    def full(self, row: Row, name: str) -> str:
        """The path of *row* in the environment. The probe has placed it below one of the roots."""
        root = self._root_of(row, name)
        if root is None or row.path.startswith("/") or ".." in row.path.split("/"):
            raise ArtifactError(f"{row.scheme}/{row.path} of {name} has no place on this machine")
        return f"{root}/{row.path}"

    def _root_of(self, row: Row, name: str) -> str | None:
        if row.scheme == "site":
            return str(self.site)
        if row.scheme == "headers" and self.headers is not None:
            return self._headers_of(name, row.path)
        if row.scheme in {"scripts", "data"} and self.prefix is not None:
            return str(self.prefix / "bin" if row.scheme == "scripts" else self.prefix)
        return None

    def _headers_of(self, name: str, path: str) -> str:
        """Headers lie below a directory named after the distribution, variously spelt."""
        for place in self._spellings(normalize(name)):
            if self.root.exists(f"{place}/{path}"):
                return place
        return f"{self.headers}/{name}"

    def _spellings(self, wanted: str) -> list[str]:
        """The directories of headers whose name means *wanted*."""
        if not self._spelt:
            with contextlib.suppress(OSError):
                for entry in sorted(os.listdir(self.root.at(str(self.headers)))):  # noqa: PTH208
                    self._spelt.setdefault(normalize(entry), []).append(f"{self.headers}/{entry}")
        return self._spelt.get(wanted, [])


def layout(site: Site, facts: Interpreter, sources: Roots = (), root: Root | None = None) -> Layout:
    """The layout of *site* under the interpreter that was captured, in *root*."""
    root = root or Root()
    prefix = Path(site.prefix) if site.prefix else None
    tag = "python" + ".".join(facts.version.split(".")[:2])
    headers = None
    if prefix is not None:
        in_venv = facts.venv and str(prefix) == facts.prefix
        headers = prefix / "include" / ("site/" + tag if in_venv else tag + facts.abiflags)
    spelt = [facts.executable, facts.base_executable, f"{facts.scripts}/python"]
    directories = [os.path.dirname(path) for path in spelt]  # noqa: PTH120 - kept as spelt
    return Layout(
        site=Path(site.path),
        prefix=prefix,
        headers=headers,
        interpreters=frozenset([*directories, *map(root.real, directories)]),
        sources=sources,
        root=root,
    )


LONGEST = 250
"""Bytes of a file name; file systems take 255."""


def wheel_name(dist: Dist, facts: Interpreter) -> str:
    """A file name for the wheel of *dist* that pip and uv can read (PEP 427, PEP 491)."""
    name = normalize(dist.name).replace("-", "_")
    if is_version(dist.version):
        from packaging.version import Version

        version = str(Version(dist.version))
    else:
        version = "0+" + (re.sub(r"[^a-z0-9]+", ".", dist.version.lower()).strip(".") or "unknown")
    build = f"-{dist.build}" if dist.build and re.fullmatch(r"\d[0-9a-z_]*", dist.build) else ""
    full = f"{name}-{version}{build}-{_compressed_tags(dist, facts)}.whl"
    if len(full) <= LONGEST:
        return full
    # No file system takes it; it is no name that pip would take then, either.
    return f"{name[:64]}-{hashlib.sha256(full.encode()).hexdigest()[:16]}.whl"


def is_version(text: str) -> bool:
    """Whether *text* is a version that PEP 440 knows."""
    from packaging.version import Version

    try:
        Version(text)
    except ValueError:  # InvalidVersion, or more digits than Python takes for a number.
        return False
    return True


def is_wheel_name(text: str) -> bool:
    """Whether *text* is a wheel's file name with a version that PEP 440 knows."""
    from packaging.utils import parse_wheel_filename

    try:
        parse_wheel_filename(text)
    except ValueError:  # InvalidWheelFilename, or more digits than Python takes for a number.
        return False
    return True


def _compressed_tags(dist: Dist, facts: Interpreter) -> str:
    """The tag set of WHEEL as a file name spells it."""
    triples = [
        tag.split("-")
        for tag in dist.tags
        if re.fullmatch(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+){2}", tag)
    ]
    if triples:
        return "-".join(".".join(dict.fromkeys(part)) for part in zip(*triples, strict=True))
    if any(row.path.endswith((".so", ".pyd")) for row in dist.rows or ()):
        tag = "cp" + "".join(facts.version.split(".")[:2])
        return f"{tag}-{tag}{facts.abiflags}-{re.sub(r'[^A-Za-z0-9]', '_', facts.platform)}"
    return "py3-none-any"


def pack_wheel(
    dist: Dist, place: Layout, cache: Cache, yields: Iterable[str] = ()
) -> tuple[str, int]:
    """Rebuild a wheel of *dist* from the installed files; its ``(sha256, size)`` in the cache.

    Files that RECORD names and the disk lacks are left out; wrappers, ``.pyc`` and the
    installer's own files are not part of a wheel.

    :param yields: ``scheme/path`` of files that another distribution overwrote: RECORD goes on
        naming them with the hash that this one had, their bytes are the other's to bring.
    :raises ArtifactError: a file changed since it was looked at, or cannot be read.
    """
    if not dist.info.endswith(".dist-info"):
        raise ArtifactError(f"{dist.info} is not the metadata directory of a wheel")
    with (
        cache.writing() as blob,
        zipfile.ZipFile(Seekless(blob), "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        lost = frozenset(yields)
        record = [_pack_row(archive, dist, row, place) for row in _wheel_rows(dist, lost)]
        record += _named_only(dist, lost)
        if not any(name == f"{dist.info}/WHEEL" for name, _, _ in record):
            record.append(_pack_bytes(archive, f"{dist.info}/WHEEL", _wheel_file(dist)))
        _pack_bytes(archive, f"{dist.info}/RECORD", _record(record, dist.info))
    return blob.sha256, blob.size


class Seekless(io.RawIOBase):
    """A write-only stream for zipfile: it then writes sizes behind the data, never seeks."""

    def __init__(self, blob: BlobWriter) -> None:
        self._blob = blob

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._blob.write(bytes(data))


_Recorded = tuple[str, str, int | str]
"""Name in the wheel, sha256 hex, size."""


def _wheel_rows(dist: Dist, lost: frozenset[str]) -> list[Row]:
    """What goes into the wheel, each place once, metadata last as PEP 427 advises."""
    rows = {
        (row.path.startswith(dist.info + "/"), row.scheme, row.path): row
        for row in owned_rows(dist)
        if row.sha256 is not None and f"{row.scheme}/{row.path}" not in lost
    }
    return [rows[key] for key in sorted(rows)]


def _named_only(dist: Dist, lost: frozenset[str]) -> Iterator[_Recorded]:
    for row in sorted(owned_rows(dist), key=lambda row: (row.scheme, row.path)):
        claimed = claimed_sha256(row) if f"{row.scheme}/{row.path}" in lost else None
        if claimed is not None:
            yield _member_name(dist, row), claimed, ""


def _member_name(dist: Dist, row: Row) -> str:
    data_directory = re.sub(r"\.dist-info$", ".data", dist.info)
    return row.path if row.scheme == "site" else f"{data_directory}/{row.scheme}/{row.path}"


def zip_member(name: str, executable: bool) -> zipfile.ZipInfo:
    """A member as every archive of ours has it: no time, no owner, executable or not."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    info.external_attr = (0o100755 if executable else 0o100644) << 16
    return info


def _pack_bytes(archive: zipfile.ZipFile, name: str, data: bytes) -> _Recorded:
    archive.writestr(zip_member(name, False), data)
    return name, hashlib.sha256(data).hexdigest(), len(data)


def _pack_row(archive: zipfile.ZipFile, dist: Dist, row: Row, place: Layout) -> _Recorded:
    name = _member_name(dist, row)
    path = place.file(row, dist.name)
    digest = hashlib.sha256()
    size = 0
    info = zip_member(name, row.executable)
    info.file_size = row.size or 0  # zipfile chooses zip64 by it.
    try:
        with opened(path) as source:
            if row.scheme == "site" and info.file_size >= gzips.BLOCK:
                # Of a large file the first block tells whether deflating it is worth the time.
                dense = gzips.is_dense(source.read(gzips.BLOCK))
                source.seek(0)
                info._compresslevel = 0 if dense else None  # type: ignore[attr-defined]
            with archive.open(info, "w") as member:
                for chunk in installed_chunks(source, row, place):
                    member.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror or error}", hint="Try again."
        ) from error
    if digest.hexdigest() != row.sha256:
        raise ArtifactError(
            f"{path} changed while it was being captured", hint="Let it settle and capture again."
        )
    return name, digest.hexdigest(), size


def opened(path: str) -> IO[bytes]:
    """A file of the target, to read."""
    return open(path, "rb")  # noqa: PTH123 - for each file of an environment


def installed_chunks(source: IO[bytes], row: Row, place: Layout) -> Iterator[bytes]:
    """The file as a wheel carries it: scripts with ``#!python`` for the environment's path,
    and placeholders for the places of source trees."""
    if row.scheme == "site" and _is_pointer(row.path, row.size, place.sources):
        yield _neutral(row.path, source.read(pointers.LIMIT), place.sources)
    if row.scheme == "scripts":
        yield from _script(source, place)
    while chunk := source.read(CHUNK):
        yield chunk


def _script(source: IO[bytes], place: Layout) -> Iterator[bytes]:
    # The first line is all that the probe looked at, too: a script may be a large program.
    head = source.read(probe_files.HEAD)
    yield bytes(probe_files.neutral(head, place.interpreters))  # type: ignore[no-untyped-call]
    while chunk := source.read(CHUNK):
        yield chunk


def _is_pointer(path: str, size: int | None, sources: Roots) -> bool:
    small = (size or 0) <= pointers.LIMIT
    return bool(sources and small and pointers.is_pointer(path))


def _neutral(path: str, data: bytes, sources: Roots) -> bytes:
    return bytes(pointers.neutral(path, data, sources))


def pointing(dist: Dist, place: Layout) -> list[str]:
    """``scheme/path`` of the files of *dist* that name a source tree."""
    found = []
    for row in owned_rows(dist):
        if row.scheme != "site" or not _is_pointer(row.path, row.size, place.sources):
            continue
        try:
            with opened(place.file(row, dist.name)) as file:
                data = file.read()
        except OSError:
            continue  # Missing or not readable: packing says so.
        if _neutral(row.path, data, place.sources) != data:
            found.append(f"{row.scheme}/{row.path}")
    return sorted(found)


def pack_key(*parts: object) -> str:
    """What packed bytes are remembered by."""
    return hashlib.sha256(repr((FORMAT, *parts)).encode()).hexdigest()


def packed_once(cache: Cache, key: str, make: Callable[[], tuple[str, int]]) -> str:
    """The sha256 of what *make* packs; what was packed before from the same bytes is reused."""
    known = (cache.read_note("packs", key) or b"").decode("ascii", "replace")
    if cache.find(known) is not None:
        return known
    sha256, _ = make()
    cache.write_note("packs", key, sha256.encode())
    return sha256


def _wheel_file(dist: Dist) -> bytes:
    """A WHEEL file for a distribution that has lost its own: pip and uv ask for one."""
    native = any(row.path.endswith(".so") for row in dist.rows or ())
    tags = b"".join(b"Tag: %s\n" % tag.encode() for tag in dist.tags or ["py3-none-any"])
    return _MADE_UP + b"Root-Is-Purelib: %s\n%s" % (b"false" if native else b"true", tags)


def is_made_up(wheel_file: bytes) -> bool:
    """Whether this WHEEL was never installed: a rebuild must not bring it."""
    return wheel_file.startswith(_MADE_UP)


def _record(members: Iterable[_Recorded], info: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for name, sha256, size in members:
        digest = base64.urlsafe_b64encode(bytes.fromhex(sha256)).rstrip(b"=").decode()
        writer.writerow((name, f"sha256={digest}", size))
    writer.writerow((f"{info}/RECORD", "", ""))
    return out.getvalue().encode("utf-8", "surrogateescape")


def pack_loose(site: Site, place: Layout, cache: Cache) -> tuple[str, int]:
    """A tar.gz of the unowned files of *site*; its ``(sha256, size)`` in the cache.

    :raises ArtifactError: a file changed since it was looked at, or cannot be read.
    """

    def kept(entry: _File, file: IO[bytes]) -> bytes | None:
        if site.kind == "scripts":
            return b"".join(_script(file, place))
        if _is_pointer(entry.path, entry.size, place.sources):
            return _neutral(entry.path, file.read(), place.sources)
        return None

    return _pack_tree((place.root, site.path), site.loose, cache, kept)


def pack_source(source: Source, cache: Cache, root: Root | None = None) -> tuple[str, int]:
    """A tar.gz of the files of a source tree; its ``(sha256, size)`` in the cache.

    :raises ArtifactError: a file changed since it was looked at, or cannot be read.
    """
    return _pack_tree(
        (root or Root(), source.root), source.files, cache, lambda _entry, _file: None
    )


def pack_unowned(root: Root, files: Iterable[LooseFile], cache: Cache) -> tuple[str, int]:
    """A tar.gz of files of the system below *root*; its ``(sha256, size)`` in the cache.

    :raises ArtifactError: a file changed since it was looked at, or cannot be read.
    """
    return _pack_tree((root, "/"), files, cache, lambda _entry, _file: None)


_File = LooseFile | SourceFile
_Kept = Callable[[_File, IO[bytes]], bytes | None]
"""What is kept of a file's content; None: the file as it is."""


_Tree = tuple[Root, str]
"""A root, and a directory in it."""


def _pack_tree(tree: _Tree, files: Iterable[_File], cache: Cache, kept: _Kept) -> tuple[str, int]:
    with (
        cache.writing() as blob,
        gzips.Writer(blob) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in sorted(files, key=lambda entry: entry.path):
            if entry.link is not None or entry.sha256 is not None:
                _add_file(tar, tree, entry, kept)
    return blob.sha256, blob.size


def _add_file(tar: tarfile.TarFile, tree: _Tree, entry: _File, kept: _Kept) -> None:
    root, directory = tree
    path = root.at(f"{directory.rstrip('/')}/{entry.path}")
    member = tarfile.TarInfo(entry.path)
    if entry.link is not None:
        member.type = tarfile.SYMTYPE
        member.linkname = entry.link
        tar.addfile(member)
        return
    member.mode = 0o755 if entry.executable else 0o644
    member.size = entry.size
    try:
        with opened(path) as file:
            content: IO[bytes] = file
            data = kept(entry, file)
            if data is not None:
                member.size, content = len(data), io.BytesIO(data)
            checked = _Checked(content)
            tar.addfile(member, checked)
    except OSError as error:
        raise ArtifactError(
            f"cannot read {path}: {error.strerror or error}", hint="Capture again."
        ) from error
    if checked.sha256 != entry.sha256:
        raise ArtifactError(
            f"{path} changed while it was being captured",
            hint="Let it settle and capture again.",
        )


class _Checked(io.RawIOBase):
    """Reads through to a file and digests what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()
