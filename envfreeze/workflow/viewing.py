"""A side of a comparison: a lock, or an environment that was looked at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.diff import view
from envfreeze.errors import TargetError
from envfreeze.model.identity import source_files
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Snapshot
from envfreeze.model.survey import digest_of, files_of, survey
from envfreeze.targets import naming
from envfreeze.workflow.context import Context

if TYPE_CHECKING:
    from envfreeze.targets import local
    from envfreeze.targets.bundle import Observation
    from envfreeze.workflow.deepening import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a comparison, and what it knows of the files behind a tree digest."""

    view: view.View
    files: Callable[[str], Mapping[str, str] | None]
    count: int = 0
    """Files of distributions, of a live side."""
    holder: Callable[[], AbstractContextManager[Holder]] | None = None
    """What has the bytes of its files; None: they are out of reach."""


def lock_side(lock: Lock, title: str, context: Context) -> Side:
    from envfreeze.resolve import trees

    return Side(
        view=view.of_lock(lock, title), files=lambda tree: trees.recall(tree, context.cache)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Of a live side, what most comparisons do with."""

    view: view.View
    count: int


def observed_side(
    target: local.LocalTarget, observation: Observation, title: str, context: Context
) -> Side:
    """A look at *target*; where it is the same as the last one, sorted as it was then."""
    from envfreeze.targets import local

    if observation.fingerprint is None or target.running is not None:
        return live_side(local.seen(target, observation), title)
    from envfreeze.workflow.remembered import remembered

    def make() -> _Known:
        side = live_side(observation.snapshot, title)
        return _Known(view=side.view, count=side.count)

    key = f"{observation.fingerprint} {observation.below_digest}"
    known = remembered("views", key, _Known, make, context.cache)

    def files(tree: str) -> Mapping[str, str] | None:
        return live_side(observation.snapshot, title).files(tree)

    return Side(view=replace(known.view, title=title), files=files, count=known.count)


def live_side(snapshot: Snapshot, title: str) -> Side:
    seen = survey(snapshot)

    def files(tree: str) -> Mapping[str, str] | None:
        for item in [*seen.seen, *seen.shadowed]:
            if item.tree == tree:
                return dict(files_of(item))
        found = (source for source in snapshot.sources if digest_of(source) == tree)
        return next((dict(source_files(source.files)) for source in found), None)

    return Side(
        view=view.of_snapshot(snapshot, title, seen),
        files=files,
        count=sum(item.count for item in seen.seen),
    )


def kept_side(lock: Lock, path: Path, title: str, context: Context) -> Side:
    """A lock, with the bytes that lie beside *path* and in the cache."""

    def holder() -> AbstractContextManager[Holder]:
        from envfreeze.workflow.deepening import Locked

        return contextlib.nullcontext(Locked(lock, path, context.cache))

    return replace(lock_side(lock, title, context), holder=holder)


def inside_side(text: str, context: Context) -> Side:
    """A container, an image or an unpacked root; its files are copied out when they are needed."""
    from envfreeze.workflow.reaching import reached

    with reached(text, context, host=True) as found:
        side = live_side(_described(found.snapshot), text)

    @contextlib.contextmanager
    def holder() -> Iterator[Holder]:
        from envfreeze.workflow.deepening import Live

        with reached(text, context, host=False) as again, again.files() as root:
            yield Live(again.snapshot, root)

    return replace(side, holder=holder)


def target_of(text: str, context: Context) -> local.LocalTarget:
    from envfreeze.targets import local  # Two locks are compared without what looks at targets.

    try:
        return local.find(text, context.environ)
    except TargetError as error:
        if text.startswith(naming.PID):
            raise
        raise TargetError(
            str(error), hint="Give a lock, an interpreter, a venv or a prefix."
        ) from error


def observed(target: local.LocalTarget, title: str, context: Context) -> Side:
    from envfreeze.targets import local

    observation = local.observe(target, environ=context.environ, cache=context.cache, host=True)
    snapshot = _described(local.seen(target, observation))

    def holder() -> AbstractContextManager[Holder]:
        from envfreeze.workflow.deepening import Live

        return contextlib.nullcontext(Live(snapshot))

    return replace(live_side(snapshot, title), holder=holder)


def _described(snapshot: Snapshot) -> Snapshot:
    """With the machine below as a lock has it."""
    from envfreeze.resolve import below

    # As a lock has it: a wheel's metadata tell the whole version of a library in it.
    host = below.described(snapshot, lambda _paths: {})
    return msgspec.structs.replace(snapshot, host=host)
