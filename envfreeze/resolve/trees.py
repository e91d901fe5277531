"""What lies behind a tree digest: remembered, so that a difference can name its files.

A lock holds one digest for each distribution, not one for each file. Where this machine has
seen the distribution, the cache tells which files the digest was made of.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import msgspec

from envfreeze.model.identity import NOT_EXECUTABLE, source_files, tree_digest
from envfreeze.model.snapshot import Source
from envfreeze.model.survey import Seen, files_of
from envfreeze.store import Cache

_KIND = "trees"
_LIMIT = 256 << 20

Files = Mapping[str, str]
"""``scheme/path`` to a word for its content and mode."""


def remember(items: Iterable[Seen], cache: Cache) -> None:
    """Keep the file list of each distribution that the cache does not know yet."""
    for item in items:
        if not cache.has_note(_KIND, item.tree):
            data = msgspec.json.encode(sorted(files_of(item)))
            cache.write_note(_KIND, item.tree, zlib.compress(data, 1))


def remember_sources(sources: Iterable[Source], cache: Cache) -> None:
    """Keep the file list of each source tree, too."""
    for source in sources:
        files = sorted(source_files(source.files))
        digest = tree_digest(files)
        if not cache.has_note(_KIND, digest):
            cache.write_note(_KIND, digest, zlib.compress(msgspec.json.encode(files), 1))


def recall(tree: str, cache: Cache) -> Files | None:
    """The files of *tree*, if they were seen here; a damaged note counts as unseen."""
    data = cache.read_note(_KIND, tree)
    if data is None:
        return None
    try:
        text = zlib.decompressobj().decompress(data, _LIMIT)
        files = msgspec.json.decode(text, type=list[tuple[str, str]])
    except (zlib.error, msgspec.MsgspecError):
        return None
    return dict(files) if tree_digest(files) == tree else None


def modes(one: Files, two: Files) -> list[str]:
    """The paths whose executable bit differs while their bytes do not, each with what became of
    it. Of a script that the installer made only the bit is known."""
    found = []
    for path in differing(one, two):
        was, now = one.get(path), two.get(path)
        made = NOT_EXECUTABLE in {was, now} and None in {was, now}
        if made or (was and now and was.partition(" ")[0] == now.partition(" ")[0]):
            found.append(f"{path} is {'' if _is_executable(path, now) else 'no longer '}executable")
    return found


def _is_executable(path: str, word: str | None) -> bool:
    _, _, mode = (word or "").partition(" ")
    if word == NOT_EXECUTABLE or mode == NOT_EXECUTABLE:
        return False
    return bool(mode) or path.startswith("scripts/")


def differing(one: Files, two: Files) -> list[str]:
    """The paths whose content or mode differs, or that only one side has."""
    return sorted(path for path in {*one, *two} if one.get(path) != two.get(path))
