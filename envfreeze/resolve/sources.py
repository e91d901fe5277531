"""The source trees of a snapshot for a lock: kept whole, and named where they are not.

A commit that was pushed could be had from its remote again; the tree is kept all the same. So a
rebuild needs neither the remote nor a credential for it, and what was never pushed is there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from envfreeze.model.identity import source_files
from envfreeze.model.lock import SourceTree
from envfreeze.model.snapshot import Finding, Snapshot, Source
from envfreeze.model.survey import digest_of
from envfreeze.probe import pointers
from envfreeze.resolve import pack
from envfreeze.resolve.based import BaseFiles
from envfreeze.resolve.rootfs import Root
from envfreeze.store import Cache, Sidecar, kept

ARCHIVE = "source.tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the trees lie."""

    root: Root = field(default_factory=Root)
    base: BaseFiles | None = None
    """The image below: a tree that it has whole is not kept."""


def roots(snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """``(directory as something spells it, key)`` of the trees that are kept."""
    return tuple(
        (spelling, source.key)
        for source in snapshot.sources
        if source.problem is None
        for spelling in source.spellings
    )


def lock_sources(
    snapshot: Snapshot, cache: Cache, sidecar: Sidecar, *, keep: bool, place: Place | None = None
) -> list[SourceTree]:
    """The source trees of a lock, by key; their bytes are in the cache.

    :param keep: False under ``--no-pack``: they are named only.
    :raises ArtifactError: a file changed since it was looked at, or cannot be read.
    """
    place = place or Place()
    trees = (_tree(source, cache, sidecar, place, keep) for source in snapshot.sources)
    return sorted(trees, key=lambda tree: tree.key)


def _tree(source: Source, cache: Cache, sidecar: Sidecar, place: Place, keep: bool) -> SourceTree:
    archive = None
    digest = digest_of(source)
    paths = (f"{source.root}/{file.path}" for file in source.files)
    in_base = digest is not None and place.base is not None and place.base.has_all(paths)
    if keep and digest is not None and not in_base:
        sha256 = pack.packed_once(
            cache,
            pack.pack_key("source", digest),
            lambda: pack.pack_source(source, cache, place.root),
        )
        archive = kept(cache, sidecar, sha256, ARCHIVE)
    return SourceTree(
        key=source.key,
        root=source.root,
        spellings=[spelling for spelling in source.spellings if spelling != source.root],
        imports=source.imports,
        dists=source.dists,
        digest=digest,
        count=len(source_files(source.files)),
        repository=source.repository,
        archive=archive,
        problem=source.problem,
        in_base=in_base,
    )


def pythonpath(snapshot: Snapshot) -> list[str]:
    """The entries of PYTHONPATH, with placeholders for the trees that are kept."""
    spelt = roots(snapshot)
    return [
        pointers.neutral_link(site.path, spelt)
        for site in snapshot.sites
        if site.kind == "pythonpath"
    ]


def is_covered(path: str, snapshot: Snapshot) -> bool:
    """Whether *path* lies in a tree that is kept."""
    return any((path + "/").startswith(root.rstrip("/") + "/") for root, _ in roots(snapshot))


def findings(snapshot: Snapshot) -> Iterator[Finding]:
    """What a person should know of each tree: it is not kept, or no commit elsewhere holds it."""
    for source in snapshot.sources:
        if source.problem is not None:
            yield Finding(
                kind="source",
                place=source.root,
                detail=f"the source tree is not kept: {source.problem}",
                advice="install what is needed from there as a wheel",
            )
            continue
        state = _state(source)
        if state:
            yield Finding(
                kind="source-state",
                place=source.root,
                detail=state,
                advice="kept whole, as it is on the disk",
            )


def _state(source: Source) -> str:
    """How the tree differs from what can be had from its remote; empty: it does not."""
    repository = source.repository
    if repository is None:
        return ""
    parts = []
    if repository.commit is None:
        parts.append("nothing is committed yet")
    elif not repository.pushed:
        parts.append(f"commit {repository.commit[:12]} is not known to be pushed")
    for count, word in (
        (len(repository.modified), "modified"),
        (len(repository.untracked), "untracked"),
    ):
        if count:
            parts.append(f"{count} {word} {'file' if count == 1 else 'files'}")
    return ", ".join(parts)
