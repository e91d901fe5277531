"""The files in an archive of a lock, of whatever kind: read once, forwards, and within bounds."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from envfreeze.diff.deep import Content
from envfreeze.errors import EnvfreezeError
from envfreeze.model.identity import is_bytecode
from envfreeze.resolve import condapack, debfile, tars

LIMIT = 64 << 20
"""Bytes of one file; of a larger one only size and digest are told."""
KEPT = 64 << 20
"""Bytes of one archive that are kept in memory while its files are compared."""
WHOLE = 16 << 30
"""Bytes that an archive may unpack to."""
MEMBERS = 500_000

_CHUNK = 1 << 20
_DAMAGE = (OSError, EnvfreezeError, debfile.DebError, *tars.DAMAGE)
_SITE = re.compile(r"lib/python\d+\.\d+t?/(?=site-packages/)")
_PYTHON = re.compile(r"(python-?|pypy|cpython-|idle|pydoc|2to3-)(\d)\.?(\d+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that a side has: its word, and how to read it."""

    word: str
    read: Callable[[], Content]


Listing = Mapping[str, Entry]


class NotHereError(Exception):
    """What a side has of a change cannot be listed; ``str()`` says why."""


def link(target: str) -> Entry:
    word = f"-> {target}"
    return Entry(word, lambda: Content(word=word))


def kept(content: Content) -> Callable[[], Content]:
    return lambda: content


Members = Iterator[tuple[tarfile.TarInfo, "IO[bytes] | None"]]


class Unpacked:
    """The files of one archive, read once from its start to its end.

    :param members: of the archive, forwards.
    :param key: what a member is called among the files of its side; None: it is none of them.
    :param neutral: what is particular to this archive taken out of a file; None: nothing is.
    :raises NotHereError: the archive cannot be read.
    """

    def __init__(
        self,
        path: Path,
        members: Members,
        key: Callable[[str], str | None] = str,
        neutral: Callable[[str], Callable[[bytes], bytes] | None] = lambda _name: None,
    ) -> None:
        self._words: dict[str, str] = {}
        self._kept: dict[str, Content] = {}
        self._names: dict[str, str] = {}
        self._key, self._neutral = key, neutral
        left, whole = KEPT, WHOLE
        try:
            for member, content in members:
                whole -= max(member.size, 0)
                if whole < 0 or len(self._names) > MEMBERS:
                    raise tarfile.ReadError("it unpacks to more than anybody packs")
                left -= self._add(member, content, left)
        except _DAMAGE as error:
            raise NotHereError(f"{path.name} cannot be read: {error}") from error

    def _add(self, member: tarfile.TarInfo, content: IO[bytes] | None, left: int) -> int:
        """Take one member; how many bytes of it are kept."""
        key = self._key(member.name)
        if key is None:
            return 0
        if member.issym():
            self._words[key] = f"-> {member.linkname}"
        elif member.islnk():
            self._same(key, self._names.get(member.linkname))
        elif content is not None:
            self._names[member.name] = key
            return self._file(key, member, content, left)
        return 0

    def _same(self, key: str, other: str | None) -> None:
        """A hard link to a member that came before."""
        if other in self._words:
            self._words[key] = self._words[other]
            self._kept[key] = self._kept[other]

    def _file(self, key: str, member: tarfile.TarInfo, content: IO[bytes], left: int) -> int:
        neutral = self._neutral(member.name) if member.size <= LIMIT else None
        if neutral is not None:
            data = neutral(tars.read(content, LIMIT))
            found = Content(word=hashlib.sha256(data).hexdigest(), data=data, size=len(data))
        else:
            found = _hashed(member.size, content, fits=member.size <= min(left, LIMIT))
        if found.data is not None and len(found.data) > left:
            said = f"{len(found.data)} bytes: too much of the archive to keep"
            found = Content(word=found.word, size=found.size, problem=said)
        self._words[key] = found.word
        self._kept[key] = found
        return 0 if found.data is None else len(found.data)

    def read(self, path: str, word: str) -> Content:
        found = self._kept.get(path)
        if found is None or found.word != word:
            return Content(word=word, problem="the archive of the lock does not hold it")
        return found

    def listing(self) -> Listing:
        found = {}
        for path, word in self._words.items():
            found[path] = Entry(word, kept(self._kept.get(path) or Content(word=word)))
        return found


def _hashed(size: int, content: IO[bytes], *, fits: bool) -> Content:
    digest, blocks = hashlib.sha256(), []
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
        if fits:
            blocks.append(chunk)
    problem = None if fits else f"{size} bytes: too much of the archive to keep"
    data = b"".join(blocks) if fits else None
    return Content(word=digest.hexdigest(), data=data, size=size, problem=problem)


# --- kinds of archives ---------------------------------------------------------------------


def archive(path: Path) -> Unpacked:
    """A tar.gz of unowned files or of a source tree; or a ``.conda`` file of a prefix' own."""
    return conda(path) if path.name.endswith(".conda") else Unpacked(path, _targz(path))


def _targz(path: Path) -> Members:
    with gzip.open(path) as plain:
        yield from tars.members(cast("IO[bytes]", plain))


def interpreter(path: Path, stdlib: str) -> Unpacked:
    """The packed interpreter, whose files are called as :func:`pythons_names` has it."""
    try:
        names = [member.name for member, _ in _targz(path) if not member.isdir()]
    except _DAMAGE as error:
        raise NotHereError(f"{path.name} cannot be read: {error}") from error
    return Unpacked(path, _targz(path), pythons_names(names, stdlib).get)


def pythons_names(paths: list[str], stdlib: str) -> dict[str, str]:
    """Each of *paths* below an interpreter's prefix, without the prefix and without the version:
    ``lib/pythonX.Y/os.py``. What lies elsewhere keeps its whole path."""
    tail = f"/{stdlib.rpartition('/')[2]}/os.py"
    known = next((path for path in paths if path.endswith(tail)), "")
    prefix = known.removesuffix(tail).rpartition("/")[0] + "/" if known else "\0"
    return {path: _PYTHON.sub(_unnumbered, path.removeprefix(prefix)).lstrip("/") for path in paths}


def _unnumbered(match: re.Match[str]) -> str:
    return f"{match[1]}{'XY' if match[1] == 'cpython-' else 'X.Y'}"


def deb(path: Path) -> Unpacked:
    """A system package."""
    return Unpacked(path, _of_deb(path), lambda name: name.removeprefix("./") or None)


def _of_deb(path: Path) -> Members:
    with path.open("rb") as file:
        yield from debfile.data_members(cast("IO[bytes]", file), path.stat().st_size)


def conda(path: Path) -> Unpacked:
    """A conda package of either format, the prefix that its text was built in made neutral."""
    about = _About()
    is_zip = path.name.endswith(".conda")
    if is_zip:
        with contextlib.suppress(*_DAMAGE):  # An old one says nothing of its files.
            for member, content in condapack.members(path, "info"):
                about.add(member, content)
    members = condapack.members(path, "pkg") if is_zip else _told(about, _bz2(path))
    return Unpacked(path, members, about.key, about.neutral)


def _bz2(path: Path) -> Members:
    with bz2.open(path) as plain:
        yield from tars.members(cast("IO[bytes]", plain))


def _told(about: _About, members: Members) -> Members:
    for member, content in members:
        if member.name.startswith("info/"):
            about.add(member, content)
        else:
            yield member, content


class _About:
    """What a conda package says of its own files."""

    def __init__(self) -> None:
        self._placeholders: dict[str, str] = {}
        self._made: frozenset[str] = frozenset()

    def add(self, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        if content is None or member.name not in {"info/paths.json", "info/envfreeze.json"}:
            return
        try:
            document = json.loads(tars.read(content, LIMIT))
            if member.name == "info/envfreeze.json":
                self._made = frozenset(map(str, document["entry_points"]))
                return
            for row in document["paths"]:
                if row.get("file_mode") == "text" and row.get("prefix_placeholder"):
                    self._placeholders[str(row["_path"])] = str(row["prefix_placeholder"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # Then its files are taken as they are.

    def key(self, name: str) -> str | None:
        return None if name in self._made else condas_name(name)

    def neutral(self, name: str) -> Callable[[bytes], bytes] | None:
        placeholder = self._placeholders.get(name)
        return None if placeholder is None else without(placeholder)


def condas_name(path: str) -> str | None:
    """What a file of a conda package is called, whether in the package or in a prefix; None: it
    is bytecode, which is made anew at any time."""
    if is_bytecode(path):
        return None
    if path.startswith("python-scripts/"):
        return f"bin/{path.removeprefix('python-scripts/')}"
    return _SITE.sub("", path, count=1)


def without(placeholder: str) -> Callable[[bytes], bytes]:
    """A text without the place that it was built in."""
    return lambda data: data.replace(placeholder.encode("utf-8", "surrogatepass"), b"$PREFIX")
