"""Which of a target's files the image has that it stands on, and what is gone of it.

A container's file is its image's where the engine counts neither it nor a directory or link on the
way to it among what was changed, added or deleted since, and nothing is mounted over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from envfreeze.model.lock import BaseImage
from envfreeze.model.snapshot import Snapshot
from envfreeze.model.survey import Seen
from envfreeze.resolve.dpkg import Dpkg, Installed
from envfreeze.resolve.pack import Layout
from envfreeze.resolve.rootfs import Root
from envfreeze.resolve.unowned import chain

CHANGED, ADDED, DELETED = 0, 1, 2
"""Kinds of change, as docker's API numbers them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFiles:
    """The image below a target."""

    image: BaseImage
    root: Root
    """The target's files."""
    touched: frozenset[str] = frozenset()
    """What was changed, added or deleted since."""
    deleted: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    known: dict[str, bool] = field(default_factory=dict)
    """Of directories, whether they are the image's."""

    def has(self, path: str) -> bool:
        """Whether the image has what lies at *path*, or lacks it as the target does."""
        real = self.root.real(path)
        if real == path:
            return self._is_own(path)
        return all(self._is_own(one) for one in {path, real, *chain(self.root, path)})

    def has_all(self, paths: Iterable[str]) -> bool:
        return all(map(self.has, paths))

    def has_dist(self, item: Seen, place: Layout) -> bool:
        """Whether it has every file that a distribution names."""
        dist = item.dist
        if dist.rows is None or not self.has(f"{dist.site}/{dist.info}"):
            return False
        rows = [row for row in dist.rows if row.scheme != "outside"]
        return self.has_all(place.full(row, dist.name) for row in rows)

    def has_package(self, dpkg: Dpkg, package: Installed) -> bool:
        """Whether it has every file of a system package."""
        return self.has_all(dpkg.on_disk(package, path) for path in dpkg.files(package))

    def _is_own(self, path: str) -> bool:
        if path in self.touched or path in self.mounts:
            return False
        above = path.rpartition("/")[0]
        if not above:
            return True
        if above not in self.known:
            self.known[above] = self._is_own(above)
        return self.known[above]


def base_files(
    image: BaseImage, root: Root, changes: Sequence[tuple[str, int]], mounts: tuple[str, ...]
) -> BaseFiles:
    """:param changes: ``(path, kind)``; a directory that counts as changed has other entries."""
    touched = {
        path for path, kind in changes if kind != CHANGED or not _is_directory(root.host(path))
    }
    return BaseFiles(
        image=image,
        root=root,
        touched=frozenset(touched),
        deleted=tuple(sorted(path for path, kind in changes if kind == DELETED)),
        mounts=mounts,
    )


def _is_directory(host: str) -> bool:
    return os.path.isdir(host) and not os.path.islink(host)  # noqa: PTH112, PTH114


def found_on(base: BaseFiles, snapshot: Snapshot) -> BaseImage:
    """The image for a lock: with what of it the environment no longer had."""
    import msgspec

    facts = snapshot.interpreter
    places = {site.path for site in snapshot.sites} | {facts.stdlib, facts.scripts}
    places |= {source.root for source in snapshot.sources}
    heads = tuple(f"{base.root.real(place).rstrip('/')}/" for place in places if place != "/")
    removed = [
        path for path in base.deleted if path.startswith(heads) and not path.endswith(".pyc")
    ]
    marks = (f"{facts.prefix}/pyvenv.cfg", facts.executable)
    venv = facts.venv and base.has_all(marks)
    return msgspec.structs.replace(base.image, venv=venv, removed=removed)
