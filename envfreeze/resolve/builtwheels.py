"""Wheels that pip and uv built on this machine and kept in their caches, as they lie.

Sources: pypa/pip ``src/pip/_internal/cache.py`` (``wheels/ab/cd/ef/REST/NAME.whl``, beside it
``origin.json`` since pip 22.2) and astral-sh/uv ``crates/uv-cache`` (``sdists-v*``, looked at
with uv 0.13). pip's layout is named by a hash of the link, so it is walked, once and bounded;
uv's is named by project and version. What is read here is a lead: the content decides.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from envfreeze.model.identity import normalize
from envfreeze.resolve.index import split_wheel_name

MAX_ENTRIES = 100_000
"""Directory entries of pip's cache that are looked at."""
MAX_WHEELS = 24
"""Built wheels of one project that are held against what is installed."""
_ORIGIN_LIMIT = 1 << 16
_DEPTH = 4
"""Directories between ``wheels`` and a wheel."""
_UV_HEAD = re.compile(rb"\x93\xb0([A-Za-z0-9_-]{16})\x91\x81\xa6Sha256\xd9\x40([0-9a-f]{64})")
"""How ``revision.http`` begins: the revision's name and the sdist's sha256, in MessagePack."""
_PROJECT = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltWheel:
    """A wheel in a cache, and what the cache says that it was built from."""

    path: Path
    tool: str
    """``pip`` or ``uv``."""
    origin: str | None = None
    """origin.json, raw (PEP 610); None: there is none."""
    sha256: str | None = None
    """Of the sdist, where the cache keeps that alone."""


class BuiltWheels:
    """The caches of one user. Nothing is read before the first question."""

    def __init__(self, pip: str | None, uv: str | None) -> None:
        self._pip = pip
        self._uv = uv
        self._walked: dict[str, list[Path]] | None = None
        self.cut = False
        """pip's cache holds more than was looked at."""

    def of(self, name: str) -> list[BuiltWheel]:
        """The built wheels of a project, in a fixed order, at most :data:`MAX_WHEELS`."""
        project = normalize(name)
        if self._walked is None:
            self._walked = self._walk()
        found = [
            BuiltWheel(path=path, tool="pip", origin=_origin(path.parent))
            for path in sorted(self._walked.get(project, ()))[:MAX_WHEELS]
        ]
        if self._uv and _PROJECT.fullmatch(project):
            found += _uv_wheels(Path(self._uv), project)
        return found[:MAX_WHEELS]

    def _walk(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        if not self._pip:
            return found
        seen = 0
        todo = [(os.path.join(self._pip, "wheels"), 0)]  # noqa: PTH118 - thousands of them
        while todo:
            directory, depth = todo.pop()
            for entry in _entries(directory):
                seen += 1
                if seen > MAX_ENTRIES:
                    self.cut = True
                    return found
                if depth < _DEPTH and entry.is_dir(follow_symlinks=False):
                    todo.append((entry.path, depth + 1))
                elif depth == _DEPTH and entry.name.endswith(".whl"):
                    parts = split_wheel_name(entry.name)
                    if parts is not None and entry.is_file(follow_symlinks=False):
                        found[normalize(parts.name)].append(Path(entry.path))
        return found


def _entries(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            # Sorted: where the walk is cut must not depend on the file system.
            return sorted(entries, key=lambda entry: entry.name, reverse=True)
    except OSError:
        return []


def _origin(directory: Path) -> str | None:
    data = _read(directory / "origin.json", _ORIGIN_LIMIT)
    return data.decode("utf-8", "replace") if data is not None else None


def _read(path: Path, limit: int) -> bytes | None:
    """At most *limit* bytes of a regular file; None where it is larger, or no such file."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    return data if len(data) <= limit else None


def _uv_wheels(cache: Path, project: str) -> Iterator[BuiltWheel]:
    """``sdists-v*/(pypi|index/HASH)/PROJECT/VERSION/REVISION/NAME.whl``."""
    for bucket in _matching(cache, "sdists-v"):
        bases = [bucket / "pypi", *_matching(bucket / "index")]
        for release in (each for base in bases for each in _matching(base / project)):
            revision = uv_revision(_read(release / "revision.http", 1 << 20) or b"")
            if revision is None:
                continue
            name, sha256 = revision
            for wheel in _matching(release / name):
                if wheel.suffix == ".whl" and wheel.is_file():
                    yield BuiltWheel(path=wheel, tool="uv", sha256=sha256)


def _matching(directory: Path, begin: str = "") -> Iterable[Path]:
    names = [entry.name for entry in _entries(str(directory))][:MAX_ENTRIES]
    return [directory / name for name in reversed(names) if name.startswith(begin)]


def uv_revision(data: bytes) -> tuple[str, str] | None:
    """``(directory of the revision, sha256 of its sdist)`` of a ``revision.http``; None: another
    format, or a sdist without a sha256."""
    match = _UV_HEAD.match(data)
    return (match[1].decode(), match[2].decode()) if match else None
