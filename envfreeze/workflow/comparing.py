"""``envfreeze verify`` and ``envfreeze diff``: two sides, each a lock or a target."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.diff import compare as comparing
from envfreeze.diff import view
from envfreeze.errors import LockError, TargetError
from envfreeze.model.identity import source_files
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Snapshot
from envfreeze.model.survey import digest_of, files_of, survey
from envfreeze.targets import local
from envfreeze.targets.inside import IMAGE, is_inside
from envfreeze.targets.process import PREFIX
from envfreeze.workflow.context import Context, load
from envfreeze.workflow.reaching import reached

if TYPE_CHECKING:
    from envfreeze.build.engine import Engine


def verify(
    lock_path: Path, target: str | None, *, rehash: bool, context: Context
) -> comparing.Difference:
    """Is *target* still the environment of the lock?

    :param target: a local target, or one of :data:`envfreeze.targets.inside.KINDS`.
    """
    lock = load(lock_path)
    if target is not None and is_inside(target):
        return _verify_inside(lock, lock_path, target, context)
    found = local.find(target, context.environ)
    return verify_local(lock, lock_path, found, context, rehash=rehash)


def verify_local(
    lock: Lock,
    lock_path: Path,
    target: local.LocalTarget,
    context: Context,
    layers: tuple[comparing.Layer, ...] = comparing.LAYERS,
    *,
    rehash: bool = False,
) -> comparing.Difference:
    """Probe *target* and compare it with *lock*, in these *layers*."""
    with context.progress.task("verify"):
        observation = local.observe(
            target, environ=context.environ, cache=context.cache, rehash=rehash
        )
    title = target.python if target.described == "PATH" else target.described
    before = _lock_side(lock, str(lock_path), context)
    return _compare(before, _live_side(local.seen(target, observation), title), layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One side of a comparison, and what it knows of the files behind a tree digest."""

    view: view.View
    files: Callable[[str], Mapping[str, str] | None]


def _lock_side(lock: Lock, title: str, context: Context) -> _Side:
    from envfreeze.resolve import trees

    return _Side(
        view=view.of_lock(lock, title), files=lambda tree: trees.recall(tree, context.cache)
    )


def _live_side(snapshot: Snapshot, title: str) -> _Side:
    seen = survey(snapshot)

    def files(tree: str) -> Mapping[str, str] | None:
        for item in [*seen.seen, *seen.shadowed]:
            if item.tree == tree:
                return dict(files_of(item))
        found = (source for source in snapshot.sources if digest_of(source) == tree)
        return next((dict(source_files(source.files)) for source in found), None)

    return _Side(view=view.of_snapshot(snapshot, title), files=files)


def _compare(
    before: _Side, after: _Side, layers: tuple[comparing.Layer, ...] = comparing.LAYERS
) -> comparing.Difference:
    """Compare, and name the files of what has the same version and other content."""
    difference = comparing.compare(before.view, after.view, layers)
    changes = [
        _with_files(change, before, after)
        if change.layer in {"packages", "shadowed", "sources"} and change.kind == "content"
        else change
        for change in difference.changes
    ]
    return msgspec.structs.replace(difference, changes=changes)


def _with_files(change: comparing.Change, before: _Side, after: _Side) -> comparing.Change:
    from envfreeze.resolve import trees

    one, two = _tree(change, before.view), _tree(change, after.view)
    there = before.files(one) if one else None
    here = after.files(two) if two else None
    if there is None or here is None:
        return change
    return msgspec.structs.replace(change, files=trees.differing(there, here))


def _tree(change: comparing.Change, side: view.View) -> str | None:
    if change.layer == "sources":
        return side.sources[change.name]
    items = side.shadowed if change.layer == "shadowed" else side.packages
    return items[change.name].tree


def diff(before: str, after: str, context: Context) -> comparing.Difference:
    """Compare two sides, each a lock or a target."""
    return _compare(_side(before, context), _side(after, context))


def _side(text: str, context: Context) -> _Side:
    if is_inside(text):
        with reached(text, context, host=True) as found:
            return _live_side(_described(found.snapshot), text)
    if text.startswith(PREFIX):
        return _observed(local.find(text, context.environ), text, context)
    path = Path(text)
    if _is_lock(path):
        return _lock_side(load(path), text, context)
    if not path.exists() and path.suffix in {".lock", ".toml"}:
        raise LockError(f"{text}: no such file")
    try:
        target = local.find(text, context.environ)
    except TargetError as error:
        raise TargetError(
            str(error), hint="Give a lock, an interpreter, a venv or a prefix."
        ) from error
    return _observed(target, text, context)


def _observed(target: local.LocalTarget, title: str, context: Context) -> _Side:
    observation = local.observe(target, environ=context.environ, cache=context.cache, host=True)
    return _live_side(_described(local.seen(target, observation)), title)


def _described(snapshot: Snapshot) -> Snapshot:
    """With the machine below as a lock has it."""
    from envfreeze.resolve import below

    # As a lock has it: a wheel's metadata tell the whole version of a library in it.
    host = below.described(snapshot, lambda _paths: {})
    return msgspec.structs.replace(snapshot, host=host)


def _is_lock(path: Path) -> bool:
    """A regular file that cannot be run is read as a lock."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and (not mode & 0o111 or path.suffix in {".lock", ".toml"})


def verify_image(
    lock: Lock, lock_path: Path, engine: Engine, image: str, context: Context
) -> comparing.Difference:
    """Probe *image* and compare it with *lock*."""
    return _verify_inside(lock, lock_path, f"{IMAGE}{image}", context, engine)


def _verify_inside(
    lock: Lock, lock_path: Path, target: str, context: Context, engine: Engine | None = None
) -> comparing.Difference:
    python = lock.machine.interpreter.facts.executable
    with reached(target, context, host=False, engine=engine, python=python) as found:
        snapshot = found.snapshot
    before = _lock_side(lock, str(lock_path), context)
    return _compare(before, _live_side(snapshot, target))
