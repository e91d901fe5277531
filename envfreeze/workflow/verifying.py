"""``envfreeze verify``: a target, held against its lock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.diff import compare as comparing
from envfreeze.diff import verdict
from envfreeze.errors import EngineError, LockError, TargetError
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Snapshot
from envfreeze.store import disk_errors, hash_file, write_atomic
from envfreeze.targets import naming
from envfreeze.targets.naming import is_inside
from envfreeze.workflow.comparing import held
from envfreeze.workflow.context import ROOT, Context, load
from envfreeze.workflow.papers import paper_at
from envfreeze.workflow.viewing import Side, live_side, lock_side, observed_side

if TYPE_CHECKING:
    from envfreeze.build.engine import Engine
    from envfreeze.targets import local


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was compared, and what came of it."""

    lock: Lock
    lock_path: Path
    difference: comparing.Difference
    verdicts: list[verdict.Verdict]


def verify(
    lock_path: Path, target: str | None, *, rehash: bool, context: Context
) -> comparing.Difference:
    """Is *target* still the environment of the lock?

    :param target: a local target, or one of :data:`envfreeze.targets.naming.KINDS`.
    """
    return verified(lock_path, target, rehash=rehash, context=context).difference


def verified(
    lock_path: Path,
    target: str | None,
    *,
    rehash: bool,
    context: Context,
    layers: tuple[comparing.Layer, ...] = comparing.LAYERS,
) -> Verified:
    """The same, with the verdict on each layer; only in these *layers*."""
    from envfreeze.targets import local

    lock = _ours(lock_path, context)
    if target is not None and is_inside(target):
        return _only(_verify_inside(lock, lock_path, target, context), layers)
    found = local.find(target, context.environ)
    return verify_local(lock, lock_path, found, context, layers, rehash=rehash)


def _only(found: Verified, layers: tuple[comparing.Layer, ...]) -> Verified:
    changes = [change for change in found.difference.changes if change.layer in layers]
    difference = msgspec.structs.replace(found.difference, changes=changes)
    asked = {*layers, "patches"} if "packages" in layers else {*layers}
    verdicts = [one for one in found.verdicts if one.layer in asked]
    return replace(found, difference=difference, verdicts=verdicts)


def _ours(path: Path, context: Context) -> Lock:
    """The lock at *path*.

    :raises LockError: it is none; a document of another tool is called what it is.
    """
    try:
        return load(path, context.cache)
    except LockError as error:
        paper = paper_at(path, str(path))
        if paper is None:
            raise
        raise LockError(
            f"{path} is no lock of envfreeze, but another tool's {paper.kind}",
            hint=f"It can be compared, as far as it reaches: envfreeze diff {path} TARGET",
        ) from error


def verify_local(
    lock: Lock,
    lock_path: Path,
    target: local.LocalTarget,
    context: Context,
    layers: tuple[comparing.Layer, ...] = comparing.LAYERS,
    *,
    rehash: bool = False,
) -> Verified:
    """Probe *target* and compare it with *lock*, in these *layers*."""
    from envfreeze.targets import local

    with context.progress.task("verify"):
        observation = local.observe(
            target, environ=context.environ, cache=context.cache, rehash=rehash
        )
    title = target.python if target.described == "PATH" else target.described
    before = lock_side(lock, str(lock_path), context)
    after = observed_side(target, observation, title, context)
    difference = held(before, after, layers)
    return Verified(
        lock=lock,
        lock_path=lock_path,
        difference=difference,
        verdicts=verdict.verdicts(lock, difference, _counts(after), layers),
    )


def write_report(found: Verified, path: Path) -> None:
    """The verdict as a file, whole or not at all."""
    sha256, _ = hash_file(found.lock_path)
    data = verdict.as_report(found.lock, sha256, found.difference, found.verdicts)
    with disk_errors(path):
        write_atomic(path, data)


def _counts(side: Side) -> verdict.Counts:
    return verdict.Counts(files=side.count)


def verify_image(
    lock: Lock, lock_path: Path, engine: Engine, image: str, context: Context, *, ours: bool = False
) -> Verified:
    """Probe *image* and compare it with *lock*, layer by layer.

    :param ours: it was just built from the lock: then ``python`` on its PATH has to be the
        environment's, and its own user has to be able to run that.
    """
    from envfreeze.workflow import insiding

    with context.progress.task("verify"):
        snapshot = _observe_image(engine, image, lock.machine.interpreter.facts.executable)
        looked = insiding.look(lock, engine, image, ours=ours)
    before = lock_side(lock, str(lock_path), context)
    after = live_side(snapshot, f"image:{image}")
    difference = held(before, after)
    difference = verdict.with_changes(difference, looked.changes)
    counts = msgspec.structs.replace(looked.counts, files=after.count)
    return Verified(
        lock=lock,
        lock_path=lock_path,
        difference=difference,
        verdicts=verdict.verdicts(lock, difference, counts, comparing.LAYERS),
    )


def _observe_image(engine: Engine, image: str, python: str) -> Snapshot:
    """Run the probe in a container of *image* that has no network and is removed afterwards.

    :param python: where its interpreter should be; else the one on its PATH is asked.
    """
    from envfreeze.build.engine import has_no_such_program
    from envfreeze.targets.bundle import Question

    question = Question()
    for candidate in (python, "python3", "python"):
        try:
            output = engine.run_probe(image, question.argv(candidate), user=ROOT)
        except EngineError as error:
            if not has_no_such_program(error):
                raise
            continue
        return question.answer(output, f"image:{image}").snapshot
    raise TargetError(
        f"image:{image} has no Python: neither {python} nor python3 on its PATH",
        hint="Is that the image of this environment?",
    )


def _verify_inside(lock: Lock, lock_path: Path, target: str, context: Context) -> Verified:
    from envfreeze.workflow.reaching import reached

    named = naming.named(target)
    if named.kind == naming.IMAGE and named.python is None:
        from envfreeze.build.engine import connect

        return verify_image(lock, lock_path, connect(), named.name, context)
    python = lock.machine.interpreter.facts.executable
    with reached(target, context, host=False, python=python) as found:
        snapshot = found.snapshot
    before = lock_side(lock, str(lock_path), context)
    after = live_side(snapshot, target)
    difference = held(before, after)
    return Verified(
        lock=lock,
        lock_path=lock_path,
        difference=difference,
        verdicts=verdict.verdicts(lock, difference, _counts(after), comparing.LAYERS),
    )
