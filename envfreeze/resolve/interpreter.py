"""The base interpreter: whether a system package brings it, and if not, its files in a tar.

A Python that pyenv or somebody's ``make install`` built is published nowhere. It is packed
like everything else that cannot be proved: its prefix without ``site-packages`` and bytecode.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast

from envfreeze.errors import TargetError
from envfreeze.model.snapshot import Interpreter
from envfreeze.resolve import gzips
from envfreeze.resolve.dpkg import Dpkg, Installed
from envfreeze.resolve.elf import libraries
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache

SHARED_DIRECTORIES = frozenset(
    # One line a level: /, /var, /usr.
    "bin boot dev etc home lib lib32 lib64 libx32 media mnt opt proc run sbin srv sys tmp usr var"  # noqa: SIM905
    " var/lock var/run var/tmp"
    " usr/bin usr/lib usr/local usr/sbin usr/share".split()
)
"""Directories that any base image has, some as links (merged /usr), some with a mode of their
own (/tmp): a tar that named them would replace the one and change the other."""

EPOCH = 315_532_800
"""1980-01-01, the time of every member: some tools refuse earlier ones (zip cannot hold them)."""

_PATTERNS = (
    "bin/python*",
    "bin/pypy*",
    "bin/idle*",
    "bin/pydoc*",
    "bin/2to3*",
    "lib*/libpython*",
    "lib*/libpypy*",
    "lib*/pkgconfig/python*",
    "share/man/man1/python*",
)
_CARRIED = (
    "lib/tcl[0-9]*",
    "lib/tk[0-9]*",
    "lib/itcl*",
    "lib/thread[0-9]*",
    "ssl",
    "share/terminfo",
)
"""Data that conda's and standalone builds keep in their own prefix for tkinter, ssl, curses."""
_NOT_OURS = ("site-packages", "dist-packages", "__pycache__")
_LEVEL = 3
_KIND = "interpreter-packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the base interpreter comes from."""

    kind: Literal["system", "packed"]
    packages: tuple[Installed, ...] = ()
    """``system``: the packages that own the executable and the standard library."""


def origin(facts: Interpreter, dpkg: Dpkg | None) -> Origin:
    """``system`` when dpkg owns the base executable, else ``packed``."""
    if dpkg is None:
        return Origin(kind="packed")
    executable = dpkg.root.real(facts.base_executable)
    if executable not in dpkg.owners([executable]):
        return Origin(kind="packed")
    root = Root(dpkg.root.path)
    standard = [path for path in _walk(root, facts.stdlib) if not path.endswith("/")]
    packages = {
        owner.key: owner
        for owners in dpkg.owners([executable, *standard]).values()
        for owner in owners
    }
    return Origin(kind="system", packages=tuple(packages[key] for key in sorted(packages)))


def interpreter_files(facts: Interpreter, *, root: Root | None = None) -> list[Path]:
    """The files and links of the base interpreter, as seen inside *root*, sorted.

    Every path is real up to its last component; where the prefix was named through links,
    those links are in the list too, so that each name of it leads somewhere after a rebuild.
    """
    root = root or Root()
    found: set[str] = set()
    prefix = _real_directory(root, facts.base_prefix, found)
    _real_directory(root, str(PurePosixPath(facts.base_executable).parent), found)
    found.add(root.real(facts.base_executable))
    for pattern in (*_PATTERNS, *(_CARRIED if prefix not in {"/usr", "/usr/local"} else ())):
        for path in _matches(root, prefix, pattern):
            found.update(_walk(root, path))
    for directory in _library_directories(root, facts, prefix):
        found.update(_walk(root, directory))
    found |= _bundled_libraries(root, facts, prefix, found)
    return [Path(path) for path in sorted(found)]


def own_files(facts: Interpreter, *, root: Root | None = None) -> list[str]:
    """The executable, libpython and the standard library: files and links, sorted."""
    root = root or Root()
    found = set(_walk(root, root.real(facts.stdlib)))
    for path in (facts.base_executable, facts.signs.libpython):
        if path is not None and root.exists(path):
            found.add(root.real(path))
    return sorted(found)


def pack(
    facts: Interpreter, cache: Cache, *, root: Root | None = None, files: Sequence[Path] = ()
) -> tuple[str, int]:
    """The base interpreter as a ``.tar.gz`` in *cache*: its ``(sha256, size)``.

    *files*: :func:`interpreter_files`, where they are known already.

    Paths are relative to ``/``. The same files give the same bytes: sorted, one time, owned
    by root. What was packed is remembered by the files' times and sizes.
    """
    root = root or Root()
    paths = [str(path) for path in files or interpreter_files(facts, root=root)]
    key = fingerprint(root, paths)
    known = cache.read_note(_KIND, key)
    if known is not None:
        sha256 = known.decode("ascii", "replace")
        blob = cache.find(sha256)
        if blob is not None:
            return sha256, blob.stat().st_size
    try:
        with cache.writing() as writer:
            write(root, paths, cast("IO[bytes]", writer))
    except OSError as error:
        raise TargetError(
            f"cannot pack the interpreter {facts.base_prefix}: {error}",
            hint="A file cannot be read, or changed meanwhile; run as its owner, or try again.",
        ) from error
    cache.write_note(_KIND, key, writer.sha256.encode("ascii"))
    return writer.sha256, writer.size


def watched(files: Iterable[Path], root: Root) -> list[str]:
    """What to watch to see the interpreter of these *files* change: they, and the directories
    they are in, which change when a file appears."""
    paths = {name for path in files for name in (str(path), str(path.parent))}
    return sorted(root.host(path) for path in paths)


# --- which files -------------------------------------------------------------------------


def _real_directory(root: Root, path: str, links: set[str]) -> str:
    """The real path of a directory; the links on the way to it are added to *links*."""
    for directory in reversed([PurePosixPath(path), *PurePosixPath(path).parents]):
        here = root.entry(str(directory))
        if here in links or here.lstrip("/") in SHARED_DIRECTORIES:
            continue
        if os.path.islink(root.host(here)):  # noqa: PTH114
            links.add(here)
            target = os.readlink(root.host(here))  # noqa: PTH115
            step = PurePosixPath(here).parent / target
            if str(step) != str(directory):
                _real_directory(root, str(step), links)
    return root.real(path)


def _matches(root: Root, prefix: str, pattern: str) -> Iterator[str]:
    """Paths below *prefix* that match; links are not followed to tell."""
    places = [prefix]
    for part in pattern.split("/"):
        places = [
            f"{place}/{entry}"
            for place in places
            for entry in _entries(root, place)
            if fnmatch.fnmatchcase(entry, part)
        ]
    yield from places


def _entries(root: Root, directory: str) -> list[str]:
    try:
        return sorted(os.listdir(root.host(directory)))  # noqa: PTH208
    except OSError:
        return []


def _library_directories(root: Root, facts: Interpreter, prefix: str) -> Iterator[str]:
    """``lib/pythonX.Y[t]`` and ``include/pythonX.Y[t]``, in lib64 too where there is one."""
    name = re.escape(PurePosixPath(facts.stdlib).name)
    if re.fullmatch(r"(python|pypy)[0-9.]+t?", PurePosixPath(facts.stdlib).name):
        for parent in ("lib", "lib64", "include"):
            for entry in _entries(root, f"{prefix}/{parent}"):
                if re.fullmatch(rf"{name}[a-z]*", entry):
                    yield f"{prefix}/{parent}/{entry}"
    else:
        yield root.real(facts.stdlib)


def _walk(root: Root, path: str) -> Iterator[str]:
    """*path*, or everything below it except packages and bytecode; links are not followed."""
    host = root.host(path)
    if os.path.islink(host) or not os.path.isdir(host):  # noqa: PTH114, PTH112
        if os.path.lexists(host):
            yield path
        return
    cut = len(root.host("/").rstrip("/"))
    for here, directories, files in os.walk(host):
        below = here[cut:] or "/"
        linked = [name for name in directories if os.path.islink(f"{here}/{name}")]  # noqa: PTH114
        directories[:] = [d for d in directories if d not in _NOT_OURS and d not in linked]
        for name in (*files, *(name for name in linked if name not in _NOT_OURS)):
            if not name.endswith((".pyc", ".pyo")) and _is_kept(f"{here}/{name}"):
                yield f"{below}/{name}"


def _is_kept(host: str) -> bool:
    mode = os.lstat(host).st_mode
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _bundled_libraries(
    root: Root, facts: Interpreter, prefix: str, files: Iterable[str]
) -> set[str]:
    """Libraries of the prefix that the files need: conda and standalone builds bring OpenSSL."""
    if prefix in {"/usr", "/"}:
        return set()
    scan = libraries(files, root=root, executable=root.real(facts.base_executable))
    found: set[str] = set()
    for path in (*scan.found, *files):
        found.update(_chain(root, root.entry(path), prefix))
    return found


def _chain(root: Root, path: str, prefix: str) -> Iterator[str]:
    """*path* and, where it is a link, what it leads to step by step, as far as below *prefix*."""
    for _ in range(40):
        if not path.startswith(f"{prefix}/") or not os.path.lexists(root.host(path)):
            return
        if not os.path.islink(root.host(path)):  # noqa: PTH114
            if os.path.isfile(root.host(path)):  # noqa: PTH113
                yield path
            return
        yield path
        target = os.readlink(root.host(path))  # noqa: PTH115
        path = root.entry(str(PurePosixPath(path).parent / target))


# --- the archive -------------------------------------------------------------------------


def parents(paths: Iterable[str]) -> list[str]:
    """The directories above *paths* that a tar relative to ``/`` should bring, each once.

    Their mode is the writer's to choose: 0755, or an interpreter below somebody's private
    home directory could not be reached by any other user of the image.
    """
    found: set[str] = set()
    for path in paths:
        directory = path.strip("/").rpartition("/")[0]
        while directory and directory not in found:
            found.add(directory)
            directory = directory.rpartition("/")[0]
    return sorted(found - SHARED_DIRECTORIES)


def write(root: Root, paths: list[str], out: IO[bytes]) -> None:
    """A tar.gz of the files and links at *paths*, the same bytes each time."""
    with (
        gzips.Writer(out, _LEVEL) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for directory in parents(paths):
            info = _info(directory + "/", 0o755)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for path in paths:
            _add(archive, root.host(path), path.lstrip("/"))


def _add(archive: tarfile.TarFile, host: str, name: str) -> None:
    status = os.lstat(host)
    info = _info(name, 0o755 if status.st_mode & stat.S_IXUSR else 0o644)
    if stat.S_ISLNK(status.st_mode):
        info.type = tarfile.SYMTYPE
        info.mode = 0o777
        info.linkname = os.readlink(host)  # noqa: PTH115
        archive.addfile(info)
        return
    with open(host, "rb") as file:  # noqa: PTH123
        info.size = os.fstat(file.fileno()).st_size
        archive.addfile(info, file)


def _info(name: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode = mode
    info.mtime = EPOCH
    info.uname = info.gname = "root"
    return info


def fingerprint(root: Root, paths: Iterable[str]) -> str:
    """Changes when a file appears, goes, or changes its size, mode or times."""
    rows: list[list[object]] = []
    for path in paths:
        status = os.lstat(root.host(path))
        rows.append([path, status.st_size, status.st_mode, status.st_mtime_ns, status.st_ctime_ns])
    return hashlib.sha256(json.dumps([_LEVEL, gzips.BLOCK, rows]).encode()).hexdigest()
