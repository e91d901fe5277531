"""A difference as text for a person, or as JSON for a program. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from envfreeze.diff.compare import BELOW, LAYERS, Change, Difference
from envfreeze.errors import printable
from envfreeze.model import printed

SHOWN = 20
"""Lines of one layer before the rest is counted."""

_TITLES = {
    "interpreter": "Interpreter",
    "packages": "Packages",
    "shadowed": "Shadowed packages, never imported",
    "files": "Files that no package owns",
    "sources": "Source trees",
    "conda": "Conda packages, and files of the prefix",
    "system": "System packages",
    "environment": "What a process in the image sees",
    "platform": "Machine: platform",
    "accelerator": "Machine: accelerators",
    "numerics": "Machine: numerics",
}


_WITH_FILES = {"packages", "shadowed", "sources", "conda"}
"""Layers whose changes name files; elsewhere a change is a file, or has none."""


class JsonReport(msgspec.Struct, kw_only=True):
    """What ``envfreeze diff --json`` prints: schema 1."""

    schema: int
    equal: bool
    before: str
    after: str
    changes: list[Change]
    files: list[msgspec.Struct] | msgspec.UnsetType = msgspec.UNSET


def line(text: str) -> str:
    """*text* so that it stays on its line, whatever a hostile name holds."""
    return printable(_utf8(text)).replace("\n", "\\n").replace("\t", "\\t")


def _utf8(text: str) -> str:
    """What a path that is not UTF-8 looks like where only UTF-8 may go."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def as_json(difference: Difference, files: Sequence[msgspec.Struct] | None = None) -> bytes:
    """:param files: of ``--files``, each file that differs (:mod:`envfreeze.diff.deep`)."""
    report = JsonReport(
        schema=1,
        equal=difference.equal,
        before=_utf8(difference.before),
        after=_utf8(difference.after),
        changes=difference.changes,
        files=msgspec.UNSET if files is None else list(files),
    )
    return printed.as_json(report)


def as_text(difference: Difference, *, limit: int = SHOWN) -> str:
    """The difference, layer by layer; one line where there is none."""
    if not difference.changes:
        return f"equal: {line(difference.before)} and {line(difference.after)}\n"
    lines = [_headline(difference)]
    for layer in LAYERS:
        changes = [change for change in difference.changes if change.layer == layer]
        if changes:
            lines += ["", _TITLES[layer], *_layer(changes, limit)]
    return "\n".join(lines) + "\n"


def _headline(difference: Difference) -> str:
    before, after = line(difference.before), line(difference.after)
    count = sum(1 for change in difference.changes if change.counts)
    if not count:
        if all(change.layer in BELOW for change in difference.changes):
            return f"equal environments on machines that differ: {before} and {after}"
        return f"equal: {before} and {after} (but see below)"
    return f"{count} {'difference' if count == 1 else 'differences'}: {before} -> {after}"


def _layer(changes: list[Change], limit: int) -> list[str]:
    width = min(32, max(len(line(change.name)) for change in changes))
    lines = []
    for change in changes[:limit]:
        lines.append(f"  {_MARKS[change.kind]} {line(change.name):<{width}}  {_what(change)}")
        if change.note:
            lines.append(f"      {line(change.note)}")
        if change.layer in _WITH_FILES:
            lines += [f"      {line(path)}" for path in change.files[:limit]]
            if len(change.files) > limit:
                lines.append(f"      ... and {len(change.files) - limit} more files")
    if len(changes) > limit:
        lines.append(f"  ... and {len(changes) - limit} more (--json lists all)")
    return lines


_MARKS = {
    "added": "+",
    "removed": "-",
    "changed": "~",
    "content": "~",
    "proof": "=",
    "unknown": "?",
}


def _what(change: Change) -> str:
    before, after = line(change.before or ""), line(change.after or "")
    if change.kind == "added":
        return after
    if change.kind == "removed":
        return before
    if change.kind == "unknown":
        return "known on one side only: not compared"
    if change.kind == "proof":
        return f"same bytes, {before} -> {after}"
    if change.kind == "content" and change.layer == "sources":
        return f"other files, {before} -> {after}" + (":" if change.files else "")
    if change.kind == "content" and (
        change.layer in {"packages", "shadowed"} or (change.layer == "conda" and before == after)
    ):
        what = f"{before}: same version, other files"
        return what + (":" if change.files else " (which ones is not known)")
    return f"{before} -> {after}"
