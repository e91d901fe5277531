"""What differs in a file: the lines of a text, the names of a shared library. Pure.

Whoever calls brings the bytes, and what can read them; where one side's bytes are not at hand,
that is what is said of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import msgspec

from envfreeze.diff.compare import Layer
from envfreeze.errors import printable
from envfreeze.model.lines import is_text, line

TEXT_LIMIT = 1 << 20
"""Bytes of a text that is compared line by line."""
LINES = 400
"""Lines of one file's diff; what is beyond is counted."""
NAMES = 200
"""Symbols of a library that are listed, in each direction; what is beyond is counted."""
_SHOWN_NAMES = 12
_SHOWN_FILES = 100
_SHOWN_UNKNOWN = 20

Kind = Literal["text", "library", "binary", "link", "unread"]
"""``unread``: the bytes of one side are not at hand, or too many, so that nothing else is known."""


class Names(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a list of names lost and gained."""

    removed: list[str] = []
    added: list[str] = []
    more_removed: int = 0
    more_added: int = 0

    @property
    def any(self) -> bool:
        return bool(self.removed or self.added)


class LibraryChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How two shared libraries differ for those that load them."""

    soname_before: str | None = None
    soname_after: str | None = None
    needed: Names = Names()
    symbols: Names = Names()
    """The dynamic symbols that the library defines."""
    symbols_known: bool = True
    """Whether both have a table of symbols that could be read."""


class FileDifference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file that is another one now, there now, or no longer there."""

    layer: Layer
    name: str
    """Of the change that it belongs to: the package, the source tree, the file itself."""
    path: str
    """Empty: the whole of what :attr:`name` is could not be compared; :attr:`problem` says why."""
    kind: Kind
    sha256_before: str | None = None
    """None, as with the others: there was no such file."""
    sha256_after: str | None = None
    size_before: int | None = None
    size_after: int | None = None
    diff: str = ""
    """A unified diff."""
    lines_left_out: int = 0
    library: LibraryChange | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A file of one side."""

    word: str
    """Its sha256, or ``-> TARGET`` of a link: equal words are equal files."""
    data: bytes | None = None
    size: int | None = None
    problem: str | None = None
    """Why there is no :attr:`data`."""

    @property
    def is_link(self) -> bool:
        return self.word.startswith("-> ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What a shared library says of itself."""

    soname: str | None
    needed: tuple[str, ...]
    symbols: frozenset[str] | None
    """None: its table of symbols cannot be read."""


@dataclass(frozen=True, slots=True)
class Readers:
    """What can read bytes."""

    unified: Callable[[str, bytes, bytes], bytes]
    """The unified diff of a path, before and after."""
    library: Callable[[bytes], Library | None]
    """None: it is no shared library."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file belongs."""

    layer: Layer
    name: str
    path: str


def compare(
    place: Place, before: Content | None, after: Content | None, readers: Readers
) -> FileDifference:
    """How *before* and *after*, which are not equal, differ; None: there is no such file."""
    found = FileDifference(
        layer=place.layer,
        name=place.name,
        path=place.path,
        kind="unread",
        sha256_before=_digest(before),
        sha256_after=_digest(after),
        size_before=_size(before),
        size_after=_size(after),
    )
    there = [side for side in (before, after) if side is not None]
    if any(side.is_link for side in there):
        return msgspec.structs.replace(found, kind="link", diff=_links(before, after))
    problem = "; ".join(dict.fromkeys(side.problem for side in there if side.problem))
    if problem:
        return msgspec.structs.replace(found, problem=problem)
    old, new = (side.data if side and side.data else b"" for side in (before, after))
    if _is_text(old) and _is_text(new):
        return _as_text(found, readers.unified(place.path, old, new))
    one, two = (readers.library(data) for data in (old, new))
    if one is not None and two is not None:
        return msgspec.structs.replace(found, kind="library", library=_library(one, two))
    return msgspec.structs.replace(found, kind="binary")


def _digest(side: Content | None) -> str | None:
    return None if side is None or side.is_link else side.word


def _size(side: Content | None) -> int | None:
    if side is None:
        return None
    return side.size if side.data is None else len(side.data)


def _links(before: Content | None, after: Content | None) -> str:
    one, two = (side.word if side else "not there" for side in (before, after))
    return f"-{one if one.startswith(('-> ', 'not')) else 'a file'}\n" + (
        f"+{two if two.startswith(('-> ', 'not')) else 'a file'}\n"
    )


def _is_text(data: bytes) -> bool:
    return len(data) <= TEXT_LIMIT and is_text(data)


def _as_text(found: FileDifference, unified: bytes) -> FileDifference:
    lines = unified.decode("utf-8", "replace").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    kept = "".join(f"{text}\n" for text in lines[:LINES])
    return msgspec.structs.replace(
        found, kind="text", diff=kept, lines_left_out=max(0, len(lines) - LINES)
    )


def _library(one: Library, two: Library) -> LibraryChange:
    known = one.symbols is not None and two.symbols is not None
    return LibraryChange(
        soname_before=one.soname,
        soname_after=two.soname,
        needed=_names(one.needed, two.needed),
        symbols=_names(one.symbols or (), two.symbols or ()) if known else Names(),
        symbols_known=known,
    )


def _names(one: Iterable[str], two: Iterable[str]) -> Names:
    removed, added = sorted({*one} - {*two}), sorted({*two} - {*one})
    return Names(
        removed=removed[:NAMES],
        added=added[:NAMES],
        more_removed=max(0, len(removed) - NAMES),
        more_added=max(0, len(added) - NAMES),
    )


# --- for a person --------------------------------------------------------------------------


def as_text(files: list[FileDifference], *, limit: int = _SHOWN_FILES) -> str:
    """The files, below what they belong to; empty where there are none."""
    lines = []
    known = [file for file in files if file.path]
    for (layer, name), group in groupby(known, key=lambda file: (file.layer, file.name)):
        here = list(group)
        lines += ["", f"Files of {line(name)} ({layer})"]
        for file in here[:limit]:
            lines += _file(file)
        lines += _rest(len(here) - limit, "files")
    unknown = [file for file in files if not file.path]
    if unknown:
        lines += ["", "Not compared file by file"]
        width = min(32, max(len(line(file.name)) for file in unknown))
        for file in unknown[:_SHOWN_UNKNOWN]:
            lines.append(f"  ? {line(file.name):<{width}}  {line(file.problem or '')}".rstrip())
        lines += _rest(len(unknown) - _SHOWN_UNKNOWN, "")
    return "".join(f"{text}\n" for text in lines)


def _rest(count: int, what: str) -> list[str]:
    return [f"  ... and {count} more {what}".rstrip() + " (--json lists all)"] if count > 0 else []


def _file(file: FileDifference) -> list[str]:
    mark = "+" if _is_new(file) else "-" if _is_gone(file) else "~"
    head = f"  {mark} {line(file.path)}{_sizes(file)}"
    if file.kind == "unread":
        return [head, f"      {line(file.problem or 'not read')}"]
    if file.kind == "library" and file.library is not None:
        return [head, *(f"      {text}" for text in _library_lines(file.library))]
    if file.kind == "binary":
        return [head, f"      sha256 {_short(file.sha256_before)} -> {_short(file.sha256_after)}"]
    body = [text for text in file.diff.split("\n")[:-1] if not text.startswith(("--- ", "+++ "))]
    shown = [f"      {printable(text)}".rstrip() for text in body]
    if file.lines_left_out:
        shown.append(f"      ... and {file.lines_left_out} more lines")
    return [head, *shown]


def _is_new(file: FileDifference) -> bool:
    return file.sha256_before is None and file.kind != "link"


def _is_gone(file: FileDifference) -> bool:
    return file.sha256_after is None and file.kind != "link"


def _short(sha256: str | None) -> str:
    return sha256[:12] if sha256 else "none"


def _sizes(file: FileDifference) -> str:
    sizes = [size for size in (file.size_before, file.size_after) if size is not None]
    if not sizes:
        return ""
    return f"  {' -> '.join(map(str, sizes))} bytes"


def _library_lines(library: LibraryChange) -> list[str]:
    lines = []
    if library.soname_before != library.soname_after:
        one, two = library.soname_before or "none", library.soname_after or "none"
        lines.append(f"SONAME {line(one)} -> {line(two)}")
    lines += _name_lines("NEEDED", library.needed)
    lines += _name_lines("symbols", library.symbols)
    if not library.symbols_known:
        lines.append("symbols: a table of them cannot be read")
    return lines or ["the same SONAME, NEEDED and symbols: other code"]


def _name_lines(what: str, names: Names) -> list[str]:
    lines = []
    for mark, some, more in (
        ("-", names.removed, names.more_removed),
        ("+", names.added, names.more_added),
    ):
        if some:
            rest = len(some) - _SHOWN_NAMES + more
            tail = f", ... and {rest} more" if rest > 0 else ""
            shown = ", ".join(map(line, some[:_SHOWN_NAMES]))
            lines.append(f"{mark} {what} {shown}{tail}")
    return lines
