"""A judged difference as text for a person. Pure."""

from __future__ import annotations

from envfreeze.diff.compare import BELOW, LAYERS, Change, Difference, Layer
from envfreeze.diff.judge import LEVELS, WORDS, Judged, Judgement
from envfreeze.model.lines import line

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


def as_text(judgement: Judgement, *, limit: int = SHOWN, explain: bool = False) -> str:
    """The difference with the verdict on top, layer by layer, worst first; one line where there is
    none.

    :param explain: with the reason and the source of each judgement.
    """
    difference = judgement.difference
    if not difference.changes:
        return f"equal: {line(difference.before)} and {line(difference.after)}\n"
    lines = [*_judged_first(judgement), _headline(difference)]
    for layer, judged in _by_layer(judgement):
        lines += ["", _TITLES[layer], *_layer(judged, limit, explain)]
    return "\n".join(lines) + "\n"


def _judged_first(judgement: Judgement) -> list[str]:
    """The verdict, unless nothing differs but the proofs of what is equal."""
    changes = judgement.difference.changes
    told = any(change.counts or change.layer in BELOW for change in changes)
    return [line(judgement.verdict)] if told else []


def _by_layer(judgement: Judgement) -> list[tuple[Layer, list[Judged]]]:
    """The layers in the order of the worst that is in each."""
    found: dict[Layer, list[Judged]] = {}
    for one in judgement.judged:
        found.setdefault(one.change.layer, []).append(one)
    rows = [(layer, found[layer]) for layer in LAYERS if layer in found]
    return sorted(rows, key=lambda row: LEVELS.index(row[1][0].level))


def _headline(difference: Difference) -> str:
    before, after = line(difference.before), line(difference.after)
    count = sum(1 for change in difference.changes if change.counts)
    if not count:
        if all(change.layer in BELOW for change in difference.changes):
            return f"equal environments on machines that differ: {before} and {after}"
        return f"equal: {before} and {after} (but see below)"
    return f"{count} {'difference' if count == 1 else 'differences'}: {before} -> {after}"


def _layer(judged: list[Judged], limit: int, explain: bool) -> list[str]:
    width = min(32, max(len(line(one.change.name)) for one in judged))
    lines = []
    level = None
    for one in judged[:limit]:
        if one.level != level:
            level = one.level
            lines.append(f"  {WORDS[level]}:")
        lines += _one(one, width, limit)
        if explain:
            lines += _explained(one)
    if len(judged) > limit:
        lines.append(f"  ... and {len(judged) - limit} more (--json lists all)")
    return lines


def _one(one: Judged, width: int, limit: int) -> list[str]:
    change = one.change
    lines = [f"    {_MARKS[change.kind]} {line(change.name):<{width}}  {_what(change)}"]
    if change.note:
        lines.append(f"        {line(change.note)}")
    if change.layer in _WITH_FILES:
        lines += [f"        {line(path)}" for path in change.files[:limit]]
        if len(change.files) > limit:
            lines.append(f"        ... and {len(change.files) - limit} more files")
    return lines


def _explained(one: Judged) -> list[str]:
    source = f" [{line(one.source)}]" if one.source else ""
    rule = f" (rule {line(one.rule)})" if one.rule else ""
    return [f"        why: {line(one.reason)}{source}{rule}"]


_MARKS = {
    "added": "+",
    "removed": "-",
    "changed": "~",
    "content": "~",
    "proof": "=",
    "installer": "=",
    "unknown": "?",
}


def _what(change: Change) -> str:
    before, after = line(change.before or ""), line(change.after or "")
    if change.kind == "added":
        return after
    if change.kind == "removed":
        return before
    if change.kind == "unknown":
        return "not compared" if change.note else "known on one side only: not compared"
    if change.kind in {"proof", "installer"}:
        return f"same bytes, {before} -> {after}"
    if change.kind == "content" and change.layer == "sources":
        return f"other files, {before} -> {after}" + (":" if change.files else "")
    if change.kind == "content" and (
        change.layer in {"packages", "shadowed"} or (change.layer == "conda" and before == after)
    ):
        what = f"{before}: same version, other files"
        return what + (":" if change.files else " (which ones is not known)")
    return f"{before} -> {after}"
