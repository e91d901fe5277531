"""Put the locked packages at their places: wheels in, files out, no resolver asked.

``installer`` (pypa/installer) reads the wheels and decides what goes where; the files go
into a :class:`Sink`, which is a directory on this machine or a tar that becomes a layer of
an image. So a venv and an image are placed by the same code.
"""

from __future__ import annotations

import base64
import configparser
import csv
import io
import os
import posixpath
import re
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, InvalidRecordEntry, RecordEntry
from installer.scripts import Script
from installer.utils import Scheme, construct_record_file

from envfreeze.build.layout import Schemes, with_sources
from envfreeze.build.patches import Patches
from envfreeze.build.shebangs import shebang, with_shebang
from envfreeze.build.sinks import Sink
from envfreeze.build.streams import copy_hashed
from envfreeze.build.wheelsource import Source
from envfreeze.errors import ArtifactError, LockError
from envfreeze.model.identity import normalize
from envfreeze.model.lock import Package
from envfreeze.resolve import zips


@dataclass
class Placement(WheelDestination):
    """One package on its way into a sink (the second port of ``installer``)."""

    sink: Sink
    package: Package
    schemes: dict[str, str]
    where: Schemes
    patches: Patches
    unheld: list[tuple[Scheme, str, str]] = field(default_factory=list)
    """``(scheme, path, sha256 as in RECORD)`` that the wheel names and does not hold."""
    _wrappers: set[str] = field(default_factory=set)
    _copies: list[RecordEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        roots = {**self.schemes, "site": self.schemes["purelib"]}
        keys = [key.partition("/") for key in self.package.facts.yields]
        self._yielded = {
            posixpath.join(roots[scheme], path) for scheme, _, path in keys if scheme in roots
        }
        pointing = [key.partition("/") for key in self.package.facts.pointers]
        self._pointers = {posixpath.join(roots[scheme], path): path for scheme, _, path in pointing}
        edited = [(key, *key.split("/", 1)) for key in self.patches.keys]
        places = {posixpath.join(roots[scheme], path): key for key, scheme, path in edited}
        modes = {place for place, key in places.items() if self.patches[key].kind == "mode"}
        self._modes = {place: key for place, key in places.items() if place in modes}
        self._edited = {place: key for place, key in places.items() if place not in modes}

    def _path(self, scheme: str, path: str) -> str:
        root = self.schemes[scheme].rstrip("/")
        full = posixpath.normpath(posixpath.join(root, path))
        if not full.startswith(root + "/"):
            raise LockError(
                f"{self.package.name}: its file {path!r} leads out of {root}",
                hint="Do not build from this lock.",
            )
        return full

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        name = os.fspath(path)
        target = self._path(scheme, name)
        content: Any = stream
        if scheme == "scripts" and name in self._wrappers:
            return RecordEntry(name, None, None)
        if target in self._edited:
            return self._put_edited(scheme, name, target, stream)
        if scheme == "scripts":
            content = with_shebang(stream, self.where.python, keep=self._keeps_arguments())
        if target in self._pointers:
            content = with_sources(self._pointers[target], stream.read(), self.where.sources)
        if target in self._yielded:
            return _entry(name, *copy_hashed(content, None))
        return self._put(name, target, content, is_executable)

    def _put_edited(self, scheme: Scheme, name: str, target: str, stream: BinaryIO) -> RecordEntry:
        """What was made of the file goes in; RECORD goes on naming what the wheel brought, as
        it did where it was captured."""
        keep = self._keeps_arguments()
        python = self.where.python
        original = with_shebang(stream, python, keep=keep) if scheme == "scripts" else stream
        entry = _entry(name, *copy_hashed(original, None))
        stream.seek(0)
        key = self._edited[target]
        patched = self.patches.patched(key, stream)
        if patched is not None:
            with patched:
                content: Any = patched
                if key.startswith("scripts/"):
                    content = with_shebang(cast("BinaryIO", patched), python, keep=True)
                self.sink.put(target, content, executable=self.patches[key].executable)
        return entry

    def _keeps_arguments(self) -> bool:
        """pip and ``installer`` replace the whole first line of a script; uv keeps what follows
        ``#!python``, and a packed script is kept as it was."""
        facts = self.package.facts
        return facts.proof == "packed" or (facts.installer or "").startswith("uv")

    def _put(self, name: str, target: str, stream: Any, executable: bool) -> RecordEntry:
        if target in self._modes:
            executable = self.patches.mode(self._modes[target])
        return _entry(name, *self.sink.put(target, stream, executable=executable))

    def write_script(self, name: str, module: str, attr: str, section: Any) -> RecordEntry:
        script, text = Script(name, module, attr, section).generate("/python", "posix")
        data = shebang(self.where.python) + text.removeprefix(b"#!/python")
        self._wrappers.add(script)
        entry = RecordEntry(script, None, None)
        if name not in self.package.facts.no_wrappers:
            entry = self._put(script, self._path("scripts", script), io.BytesIO(data), True)
        for copy in self.package.facts.wrapper_copies.get(name, []):
            self._wrappers.add(copy)
            target = self._path("scripts", copy)
            self._copies.append(self._put(copy, target, io.BytesIO(data), True))
        return entry

    def finalize_installation(
        self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]
    ) -> None:
        def prefix(other: str) -> str | None:
            if self.schemes[other] == self.schemes[scheme]:
                return None
            return posixpath.relpath(self.schemes[other], self.schemes[scheme]) + "/"

        rows = {
            (self._path(where, row.path)): (where, row)
            for where, row in records
            if row.hash_ is not None or row.path == record_file_path
        }
        for row in self._copies:
            rows[self._path("scripts", row.path)] = (Scheme("scripts"), row)
        for where, path, claim in self.unheld:
            target = self._path(where, path)
            if target in self._yielded:
                rows[target] = (where, RecordEntry(path, Hash("sha256", claim), None))
        with construct_record_file(rows.values(), prefix) as stream:
            self._put(record_file_path, self._path(scheme, record_file_path), stream, False)


def _entry(name: str, sha256: str, size: int) -> RecordEntry:
    text = base64.urlsafe_b64encode(bytes.fromhex(sha256)).rstrip(b"=").decode("ascii")
    return RecordEntry(name, Hash("sha256", text), size)


_DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    InstallerError,
    InvalidRecordEntry,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    configparser.Error,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile and ``installer`` raise at a wheel that is none."""


def place_package(
    package: Package, wheel: Path, sink: Sink, schemes: Schemes, patch: Path | None = None
) -> None:
    """Place one package from its (already hash-checked) wheel.

    INSTALLER, REQUESTED and direct_url.json come back as they were.

    :raises ArtifactError: the wheel is damaged or malformed.
    :raises LockError: it would write outside the environment.
    """
    facts = package.facts
    if not re.fullmatch(r"[^/\x00-\x1f\x7f]+\.dist-info", facts.info):
        raise LockError(
            f"{package.name}: {facts.info!r} is not the name of a metadata directory",
            hint="Do not build from this lock.",
        )
    extra = {}
    if facts.installer is not None:
        extra["INSTALLER"] = facts.installer.encode()
    if facts.requested:
        extra["REQUESTED"] = b""
    if facts.direct_url is not None:
        text = with_sources(
            f"{facts.info}/direct_url.json", facts.direct_url.encode(), schemes.sources
        )
        extra["direct_url.json"] = text.read()
    name = facts.info.removesuffix(".dist-info").partition("-")[0] or normalize(package.name)
    try:
        with (
            zips.open_zip(wheel) as archive,
            Patches(facts.edits, patch) as patches,
        ):
            source = Source(archive, facts)
            placement = Placement(
                sink, package, schemes.of(name), schemes, patches, list(source.unheld())
            )
            install(source, placement, extra)
    except LockError:
        raise
    except (ArtifactError, *_DAMAGE) as error:
        cause = (
            str(error) if isinstance(error, ArtifactError) else f"{type(error).__name__}: {error}"
        )
        raise ArtifactError(
            f"{package.artifact.filename} cannot be placed: {cause}",
            hint="It has the bytes that the lock names: the lock or the wheel is at fault.",
        ) from error


def patch_of(package: Package, files: Mapping[str, Path]) -> Path | None:
    """The archive of the edits of *package* among the fetched *files*."""
    patch = package.facts.patch
    return None if patch is None else files[patch.sha256]


def place_parallel(
    packages: list[tuple[Package, Schemes]],
    wheels: Mapping[str, Path],
    sink: Sink,
    done: Callable[[int], None],
) -> None:
    """Place packages, each where it belongs, with a thread for each processor: inflating
    releases the lock."""
    stop = threading.Event()

    def one(package: Package, schemes: Schemes) -> None:
        if stop.is_set():
            return
        try:
            wheel, patch = wheels[package.artifact.sha256], patch_of(package, wheels)
            place_package(package, wheel, sink, schemes, patch)
        except BaseException:
            stop.set()
            raise
        done(1)

    largest_first = sorted(packages, key=lambda item: -item[0].artifact.size)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(one, *item) for item in largest_first]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
