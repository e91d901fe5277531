"""What ``envfreeze cache`` says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.model import printed
from envfreeze.model.lines import line, utf8
from envfreeze.model.words import plural, size

if TYPE_CHECKING:
    from envfreeze.workflow import CacheVerified, Prunable, Pruned

_WORDS = {"blobs": "file", "temporary": "leftover"}
"""What an entry is called; all others are notes."""


class DirReport(msgspec.Struct, kw_only=True):
    """What ``envfreeze cache dir --json`` prints: schema 1."""

    schema: int
    directory: str


class VerifyReport(msgspec.Struct, kw_only=True):
    """What ``envfreeze cache verify --json`` prints: schema 1."""

    schema: int
    directory: str
    checked: int
    size: int
    damaged: list[str]
    stuck: list[str]


class PruneReport(msgspec.Struct, kw_only=True):
    """What ``envfreeze cache prune --json`` prints: schema 1."""

    schema: int
    directory: str
    removed: int
    freed: int
    kept: int


def _json(report: msgspec.Struct) -> bytes:
    return printed.as_json(report)


def dir_json(root: Path) -> bytes:
    return _json(DirReport(schema=1, directory=utf8(str(root))))


def verified_json(result: CacheVerified) -> bytes:
    return _json(
        VerifyReport(
            schema=1,
            directory=utf8(str(result.root)),
            checked=result.checked,
            size=result.size,
            damaged=result.damaged,
            stuck=result.stuck,
        )
    )


def verified_text(result: CacheVerified) -> str:
    head = f"{line(str(result.root))}: {plural(result.checked, 'file')}, {size(result.size)}"
    if not result.damaged:
        return f"{head}, all whole\n"
    lines = [f"{head}, {len(result.damaged)} damaged and removed:"]
    stuck = set(result.stuck)
    lines += [
        f"  {sha256}{'  (it could not be removed)' if sha256 in stuck else ''}"
        for sha256 in result.damaged
    ]
    lines.append("What is needed of them is fetched or packed anew by the next command.")
    return "\n".join(lines) + "\n"


def prunable_text(found: Prunable) -> str:
    """What would be removed, by kind."""
    counts = Counter(_WORDS.get(entry.kind, "note") for entry in found.entries)
    parts = [plural(count, word) for word, count in sorted(counts.items())]
    return f"  {line(str(found.root))}: {' and '.join(parts)}, {size(found.size)}"


def pruned_json(result: Pruned) -> bytes:
    return _json(
        PruneReport(
            schema=1,
            directory=utf8(str(result.root)),
            removed=result.removed,
            freed=result.freed,
            kept=result.kept,
        )
    )


def pruned_text(result: Pruned) -> str:
    return (
        f"{line(str(result.root))}: {plural(result.removed, 'entry', 'entries')} removed, "
        f"{size(result.freed)} freed, {result.kept} kept\n"
    )
