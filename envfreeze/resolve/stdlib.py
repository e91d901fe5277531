"""Whether an interpreter's own files, the standard library before all, are still as they came.

A .deb and a conda package bring a list of their files with digests; where one is there, the
files on the disk are compared with it. Nothing else has such a list: its files get one digest,
so that two captures can be told apart.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from envfreeze.errors import printable
from envfreeze.model.identity import tree_digest
from envfreeze.model.snapshot import Interpreter
from envfreeze.resolve import interpreter
from envfreeze.resolve.debfile import parse_md5sums
from envfreeze.resolve.dpkg import Dpkg, Installed
from envfreeze.resolve.packages import merged_spellings
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache

_NOTE = "interpreter-files"
_NOTE_VERSION = 1
_MOST = 200
"""Edited files that are named: where there are more, somebody installed over it."""
_RECORD_LIMIT = 64 << 20
"""Bytes of a record in conda-meta; Python's own has about one million."""
_BLOCK = 1 << 18


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the interpreter's own files."""

    digest: str | None
    """None: one of them could not be read."""
    compared: str | None = None
    edited: list[str] = []


# --- what it came with -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A list of files with digests, as a package brought it."""

    name: str
    """For a person: ``dpkg's md5sums of 8 packages``."""
    algorithm: str
    digests: Mapping[str, str]
    """Path to digest, of those files that have one."""
    known: frozenset[str]
    """Every path that it brought, links and directories too."""
    prefix: str = ""
    """Of conda: what its other records' paths are relative to."""
    elsewhere: tuple[str, ...] = ()
    """Of conda: its other records, which may name what this one does not."""
    besides: tuple[str, ...] = ()
    """Its files outside the standard library that belong to it: sitecustomize's original."""


def dpkg_manifest(dpkg: Dpkg, packages: Iterable[Installed]) -> Manifest:
    digests: dict[str, str] = {}
    known: set[str] = set()
    besides: set[str] = set()
    count = 0
    for package in packages:
        count += 1
        known.update(dpkg.files(package))
        sums = parse_md5sums(dpkg.info(package, "md5sums") or b"")
        for name, digest in sums.items():
            digests[dpkg.on_disk(package, f"/{name}")] = digest
        for path, digest in _conffiles(package):
            digests[path] = digest
            besides.add(path)
    return Manifest(
        name=f"dpkg's md5sums of {count} package{'' if count == 1 else 's'}",
        algorithm="md5",
        digests=digests,
        known=frozenset(known | set(digests)),
        besides=tuple(sorted(besides)),
    )


def _conffiles(package: Installed) -> Iterator[tuple[str, str]]:
    """``(path, md5)`` of the configuration files; dpkg keeps their digests in its status."""
    for line in package.fields.get("Conffiles", "").split("\n"):
        match = re.fullmatch(r"\s*(/\S+) ([0-9a-f]{32})", line)
        if match:
            yield match[1], match[2]


class _Path(msgspec.Struct):
    path: str = msgspec.field(name="_path", default="")
    path_type: str = "hardlink"
    prefix_placeholder: str | None = None
    sha256: str | None = None
    sha256_in_prefix: str | None = None

    @property
    def digest(self) -> str | None:
        """Of the file as it lies in the prefix; None: the record has only the package's."""
        if self.path_type == "softlink":
            return None
        return self.sha256_in_prefix or (None if self.prefix_placeholder else self.sha256)


class _Paths(msgspec.Struct):
    paths: list[_Path] = []


class Record(msgspec.Struct):
    """Of a record in conda-meta, what is used (CEP 34's predecessor: conda ``PrefixRecord``)."""

    url: str = ""
    paths_data: _Paths = msgspec.field(default_factory=_Paths)


def conda_record(facts: Interpreter, root: Root) -> Record | None:
    name = facts.signs.conda_record
    if name is None or "/" in name:
        return None
    return _read_record(Path(root.at(f"{facts.base_prefix}/conda-meta/{name}.json")))


def _read_record(path: Path) -> Record | None:
    try:
        if path.stat().st_size > _RECORD_LIMIT:
            return None
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except (OSError, ValueError, RecursionError):
        return None


def conda_manifest(facts: Interpreter, root: Root, record: Record) -> Manifest | None:
    prefix = root.real(facts.base_prefix)
    entries = [entry for entry in record.paths_data.paths if entry.path]
    if not entries:
        return None
    digests = {f"{prefix}/{entry.path}": entry.digest for entry in entries if entry.digest}
    meta = f"{facts.base_prefix}/conda-meta"
    try:
        others = sorted(n for n in os.listdir(root.at(meta)) if n.endswith(".json"))  # noqa: PTH208
    except OSError:
        others = []
    return Manifest(
        name=f"the digests in conda-meta's {facts.signs.conda_record}",
        algorithm="sha256",
        digests=digests,
        known=frozenset(f"{prefix}/{entry.path}" for entry in entries),
        prefix=prefix,
        elsewhere=tuple(root.at(f"{meta}/{name}") for name in others),
    )


# --- comparing -------------------------------------------------------------------------------


def examine(facts: Interpreter, manifest: Manifest | None, root: Root, cache: Cache) -> Files:
    """The digest of the interpreter's own files, and which of them are not as they came.

    Remembered by the files' times and sizes: what has not changed is not read again.
    """
    paths = interpreter.own_files(facts, root=root)
    if manifest is not None:
        besides = (path for path in manifest.besides if os.path.isfile(root.at(path)))  # noqa: PTH113
        paths = sorted({*paths, *map(root.real, besides)})
    key = _key(root, paths, manifest)
    known = cache.read_note(_NOTE, key)
    if known is not None:
        try:
            return msgspec.json.decode(known, type=Files)
        except msgspec.MsgspecError:
            pass
    found = _examined(facts, paths, manifest, root)
    if found.digest is not None:
        cache.write_note(_NOTE, key, msgspec.json.encode(found))
    return found


def _key(root: Root, paths: list[str], manifest: Manifest | None) -> str:
    digest = hashlib.sha256(f"{_NOTE_VERSION} {interpreter.fingerprint(root, paths)}".encode())
    if manifest is not None:
        digest.update(f"{manifest.name} {len(manifest.known)}\n".encode())
        for path, expected in sorted(manifest.digests.items()):
            digest.update(f"{path} {expected}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _examined(facts: Interpreter, paths: list[str], manifest: Manifest | None, root: Root) -> Files:
    rows: list[tuple[str, str]] = []
    edited: list[str] = []
    whole = True
    prefix = root.real(facts.base_prefix).rstrip("/") + "/"
    for path in paths:
        try:
            word, other = _content(root.host(path), manifest)
        except OSError:
            whole = False
            continue
        rows.append((path.removeprefix(prefix), word))
        if manifest is not None and other is not None:
            expected = _expected(manifest, path)
            if expected is not None and expected != other:
                edited.append(f"edited {path}")
    if manifest is not None:
        stdlib = root.real(facts.stdlib)
        edited += _missing(manifest, paths, stdlib, root)
        edited += _added(manifest, paths, stdlib)
    return Files(
        digest=tree_digest(rows) if whole else None,
        compared=None if manifest is None else manifest.name,
        edited=_bounded(edited),
    )


def _content(host: str, manifest: Manifest | None) -> tuple[str, str | None]:
    """What stands for a file in the digest, and its digest in the manifest's algorithm."""
    if os.path.islink(host):  # noqa: PTH114
        return f"-> {os.readlink(host)}", None  # noqa: PTH115
    sha256 = hashlib.sha256()
    md5 = None
    if manifest is not None and manifest.algorithm == "md5":
        md5 = hashlib.md5(usedforsecurity=False)
    with open(host, "rb", buffering=0) as file:  # noqa: PTH123
        while block := file.read(_BLOCK):
            sha256.update(block)
            if md5 is not None:
                md5.update(block)
    return sha256.hexdigest(), sha256.hexdigest() if md5 is None else md5.hexdigest()


def _expected(manifest: Manifest, path: str) -> str | None:
    for name in merged_spellings(path):
        if name in manifest.digests:
            return manifest.digests[name]
    return None


def _missing(manifest: Manifest, paths: list[str], stdlib: str, root: Root) -> Iterator[str]:
    """Files of the standard library that the manifest has and the disk has not."""
    there = set(paths)
    for path in sorted(manifest.digests):
        inside = path.startswith(f"{stdlib}/") and not _is_left_out(path[len(stdlib) :])
        if inside and path not in there and not os.path.lexists(root.host(path)):
            yield f"missing {path}"


def _is_left_out(path: str) -> bool:
    """Packages and bytecode, which are not the standard library's own."""
    parts = path.split("/")
    return path.endswith((".pyc", ".pyo")) or any(
        part in {"site-packages", "dist-packages", "__pycache__"} for part in parts
    )


def _added(manifest: Manifest, paths: list[str], stdlib: str) -> Iterator[str]:
    """Files in the standard library that nobody brought."""
    strange = [
        path
        for path in paths
        if path.startswith(f"{stdlib}/") and not manifest.known.intersection(merged_spellings(path))
    ]
    claimed: set[str] = set()
    if strange and manifest.elsewhere:
        claimed = _named_elsewhere(manifest)
    yield from (f"added {path}" for path in strange if path not in claimed)


def _named_elsewhere(manifest: Manifest) -> set[str]:
    """What the other packages of conda brought."""
    found: set[str] = set()
    for name in manifest.elsewhere:
        record = _read_record(Path(name))
        if record is not None:
            found.update(f"{manifest.prefix}/{entry.path}" for entry in record.paths_data.paths)
    return found


def _bounded(edited: list[str]) -> list[str]:
    shown = [printable(line).replace("\n", "\\n") for line in edited[:_MOST]]
    return [*shown, f"and {len(edited) - _MOST} more"] if len(edited) > _MOST else shown
