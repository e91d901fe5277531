"""A lock as lines that a line-by-line diff makes sense of: one fact a line. Pure.

It is what ``git log -p`` compares, so that each line begins with what it is about, and the digests
that no person reads are short.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envfreeze.diff import view
from envfreeze.diff.view import Item, View
from envfreeze.model.lines import line
from envfreeze.model.lock import Lock

_DIGITS = 12


def as_plain(lock: Lock) -> str:
    """The lock, line by line, in the order of the layers."""
    return "".join(f"{line(text)}\n" for text in _lines(lock, view.of_lock(lock, "")))


def _lines(lock: Lock, seen: View) -> Iterator[str]:
    yield f"envfreeze lock {lock.machine.id[:_DIGITS]}"
    yield f"hermetic {'yes' if lock.machine.hermetic else 'no'}"
    if lock.machine.base is not None:
        yield f"base {lock.machine.base.pinned}"
    yield from _facts("interpreter", seen.interpreter)
    yield from _items("package", seen.packages)
    yield from _items("shadowed", seen.shadowed)
    yield from (f"edited {p.name} {e.kind} {e.path}" for p in lock.packages for e in p.facts.edits)
    yield from _items("conda", seen.conda)
    yield from _files("file", seen.files)
    yield from _files("prefix", seen.prefix)
    yield from _files("source", seen.sources)
    yield from _facts("system", seen.system or {})
    yield from _facts("variable", lock.machine.environment)
    for part, facts in sorted((seen.below or {}).items()):
        yield from _facts(part, facts)


def _facts(what: str, facts: Mapping[str, str]) -> Iterator[str]:
    return (f"{what} {name} {value}" for name, value in sorted(facts.items()))


def _items(what: str, items: Mapping[str, Item]) -> Iterator[str]:
    for name, item in sorted(items.items()):
        words = [what, name, item.version, item.proof or "", (item.tree or "")[:_DIGITS]]
        yield " ".join(word for word in words if word)


def _files(what: str, files: Mapping[str, str | None]) -> Iterator[str]:
    for path, content in sorted(files.items()):
        yield f"{what} {path} {_short(content)}"


def _short(content: str | None) -> str:
    if content is None or content.startswith("link"):
        return content or "unread"
    digest, mark, rest = content.partition(" ")
    return digest[:_DIGITS] + mark + rest
