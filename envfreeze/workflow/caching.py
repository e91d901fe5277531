"""``envfreeze cache``: where it lies, whether it is whole, and making it smaller."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from envfreeze.errors import EnvfreezeError
from envfreeze.store import Entry, disk_errors
from envfreeze.workflow.context import Context

DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheVerified:
    """What a look at every blob has shown."""

    root: Path
    checked: int
    size: int
    damaged: list[str]
    """The sha256 that each removed blob should have had."""
    stuck: list[str]
    """Of these, the ones that could not be removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """What would be removed, before anybody is asked."""

    root: Path
    entries: list[Entry]
    kept: int

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was removed."""

    root: Path
    removed: int
    freed: int
    kept: int


Confirm = Callable[[Prunable], bool]


def cache_verify(context: Context) -> CacheVerified:
    """Hash every blob; the damaged ones are removed, and fetched or packed anew when needed."""
    cache = context.cache
    blobs = [entry for entry in cache.entries() if entry.kind == "blobs"]
    blobs.sort(key=lambda entry: -entry.size)
    damaged, stuck = [], []
    with (
        context.progress.task("hash", sum(entry.size for entry in blobs)) as advance,
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
    ):
        for entry, whole in zip(blobs, pool.map(cache.is_whole, blobs), strict=True):
            advance(entry.size)
            if whole is False:
                damaged.append(entry.sha256)
                cache.discard(entry.sha256)
                if os.path.lexists(entry.path):
                    stuck.append(entry.sha256)
    return CacheVerified(
        root=cache.root,
        checked=len(blobs),
        size=sum(entry.size for entry in blobs),
        damaged=sorted(damaged),
        stuck=sorted(stuck),
    )


def prunable(context: Context, days: int, *, everything: bool) -> Prunable:
    """What was not used for so many *days*, and what killed runs left behind."""
    limit = time.time() - days * DAY
    old, kept = [], 0
    for entry in context.cache.entries():
        if everything or entry.used < limit:
            old.append(entry)
        else:
            kept += 1
    return Prunable(root=context.cache.root, entries=[*old, *context.cache.leftovers()], kept=kept)


def cache_prune(
    context: Context, days: int, confirm: Confirm, *, everything: bool = False
) -> Pruned:
    """Remove what *prunable* names, once *confirm* has said yes.

    Other runs may be at work: a use is written down (:data:`envfreeze.store.TOUCH_AFTER`), so
    what they look up is younger than a day; an entry is looked at again before it goes; and
    what they are writing is a temporary file, which has a day of its own. Only *everything*
    can take from a run what it has just found; it then says so, and can be repeated.

    :raises EnvfreezeError: the answer was no; nothing was removed.
    """
    found = prunable(context, days, everything=everything)
    if found.entries and not confirm(found):
        raise EnvfreezeError("nothing was removed from the cache")
    removed = freed = 0
    for entry in found.entries:
        with disk_errors(entry.path):
            if context.cache.remove(entry):
                removed += 1
                freed += entry.size
    kept = found.kept + len(found.entries) - removed
    return Pruned(root=found.root, removed=removed, freed=freed, kept=kept)
