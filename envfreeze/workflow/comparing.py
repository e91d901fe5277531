"""``envfreeze verify`` and ``envfreeze diff``: two sides, each a lock or a target.

For ``diff`` a side may be a document of another tool, too.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.diff import compare as comparing
from envfreeze.diff import foreign, verdict, view
from envfreeze.errors import EngineError, LockError, TargetError, UsageError
from envfreeze.model.identity import source_files
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Snapshot
from envfreeze.model.survey import digest_of, files_of, survey
from envfreeze.store import disk_errors, hash_file, write_atomic
from envfreeze.targets import naming
from envfreeze.targets.naming import is_inside
from envfreeze.workflow import revisions
from envfreeze.workflow.context import ROOT, Context, load, loaded

if TYPE_CHECKING:
    from envfreeze.build.engine import Engine
    from envfreeze.diff.deep import FileDifference
    from envfreeze.diff.summary import Summary
    from envfreeze.targets import local
    from envfreeze.targets.bundle import Observation
    from envfreeze.workflow.deepening import Holder

_MOST = 64 * 1024 * 1024
"""Bytes of a document of another tool."""


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
        paper = _paper(path, str(path))
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
    before = _lock_side(lock, str(lock_path), context)
    after = _observed_side(target, observation, title, context)
    difference = _held(before, after, layers)
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


def _counts(side: _Side) -> verdict.Counts:
    return verdict.Counts(files=side.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One side of a comparison, and what it knows of the files behind a tree digest."""

    view: view.View
    files: Callable[[str], Mapping[str, str] | None]
    count: int = 0
    """Files of distributions, of a live side."""
    holder: Callable[[], AbstractContextManager[Holder]] | None = None
    """What has the bytes of its files; None: they are out of reach."""


def _lock_side(lock: Lock, title: str, context: Context) -> _Side:
    from envfreeze.resolve import trees

    return _Side(
        view=view.of_lock(lock, title), files=lambda tree: trees.recall(tree, context.cache)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """Of a live side, what most comparisons do with."""

    view: view.View
    count: int


def _observed_side(
    target: local.LocalTarget, observation: Observation, title: str, context: Context
) -> _Side:
    """A look at *target*; where it is the same as the last one, sorted as it was then."""
    from envfreeze.targets import local

    if observation.fingerprint is None or target.running is not None:
        return _live_side(local.seen(target, observation), title)
    from envfreeze.workflow.remembered import remembered

    def make() -> _Known:
        side = _live_side(observation.snapshot, title)
        return _Known(view=side.view, count=side.count)

    key = f"{observation.fingerprint} {observation.below_digest}"
    known = remembered("views", key, _Known, make, context.cache)

    def files(tree: str) -> Mapping[str, str] | None:
        return _live_side(observation.snapshot, title).files(tree)

    return _Side(view=replace(known.view, title=title), files=files, count=known.count)


def _live_side(snapshot: Snapshot, title: str) -> _Side:
    seen = survey(snapshot)

    def files(tree: str) -> Mapping[str, str] | None:
        for item in [*seen.seen, *seen.shadowed]:
            if item.tree == tree:
                return dict(files_of(item))
        found = (source for source in snapshot.sources if digest_of(source) == tree)
        return next((dict(source_files(source.files)) for source in found), None)

    return _Side(
        view=view.of_snapshot(snapshot, title, seen),
        files=files,
        count=sum(item.count for item in seen.seen),
    )


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


def _held(
    lock: _Side, target: _Side, layers: tuple[comparing.Layer, ...] = comparing.LAYERS
) -> comparing.Difference:
    """How *target* differs from the lock that it is held against: whoever placed the bytes that
    the lock asks for, they are those."""
    difference = _compare(lock, target, layers)
    changes = [change for change in difference.changes if change.kind != "installer"]
    return msgspec.structs.replace(difference, changes=changes)


def _with_files(change: comparing.Change, before: _Side, after: _Side) -> comparing.Change:
    from envfreeze.resolve import trees

    one, two = _tree(change, before.view), _tree(change, after.view)
    there = before.files(one) if one else None
    here = after.files(two) if two else None
    if there is None or here is None:
        return change
    files, modes = trees.differing(there, here), trees.modes(there, here)
    notes = [change.note] if change.note else []
    if modes:
        shown = "; ".join(modes[:3]) + ("; ..." if len(modes) > 3 else "")
        notes.append(f"mode changed: {shown}")
    note = "; ".join(notes) or None
    return msgspec.structs.replace(change, files=files, note=note)


def _tree(change: comparing.Change, side: view.View) -> str | None:
    if change.layer == "sources":
        return side.sources[change.name]
    items = side.shadowed if change.layer == "shadowed" else side.packages
    return items[change.name].tree


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paper:
    """A document of another tool. What it says depends on where the other side runs."""

    kind: foreign.Kind
    text: str
    title: str

    def side(self, other: view.View | None) -> _Side:
        """As a side that is held against *other*; None: that is not known yet."""
        from envfreeze.diff.foreign.place import place_of
        from envfreeze.diff.foreign.sides import view_of

        place = place_of(other) if other is not None else None
        document = foreign.read(self.kind, self.text, self.title, place)
        return _Side(view=view_of(document, self.title, other), files=lambda _tree: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sides, and how they differ."""

    difference: comparing.Difference
    _sides: tuple[_Side, _Side]
    _texts: tuple[str, str]
    _context: Context

    def summary(self) -> Summary:
        """How much both have in common, layer by layer."""
        from envfreeze.diff.summary import summarize

        one, two = self._sides
        return summarize(one.view, two.view, self.difference)

    def files(self) -> list[FileDifference]:
        """What differs in each file whose bytes are at hand.

        :raises UsageError: the files of a side are out of reach.
        """
        from envfreeze.workflow import deepening

        one, two = map(_holder, self._sides, self._texts)
        with contextlib.ExitStack() as stack:
            before, after = stack.enter_context(one()), stack.enter_context(two())
            with self._context.progress.task("files"):
                return deepening.deepen(self.difference, before, after)


def compared(
    before: str,
    after: str,
    context: Context,
    layers: tuple[comparing.Layer, ...] = comparing.LAYERS,
    *,
    files: bool = False,
) -> Comparison:
    """Compare two sides, each a lock, a target or another tool's document, in these *layers*.

    :param files: :meth:`Comparison.files` will be asked for.
    :raises UsageError: it will, and a side has no files.
    """
    left, right = _side(before, context), _side(after, context)
    for side, text in ((left, before), (right, after)) if files else ():
        if isinstance(side, _Paper):
            raise _out_of_reach(text)
    one, two = _seen(left, right), _seen(right, left)
    return Comparison(
        difference=_compare(one, two, layers),
        _sides=(one, two),
        _texts=(before, after),
        _context=context,
    )


def diff(before: str, after: str, context: Context) -> comparing.Difference:
    """How two sides differ, each a lock, a target or a document of another tool."""
    return compared(before, after, context).difference


def _holder(side: _Side, text: str) -> Callable[[], AbstractContextManager[Holder]]:
    if side.holder is None:
        raise _out_of_reach(text)
    return side.holder


def _out_of_reach(text: str) -> UsageError:
    return UsageError(
        f"--files needs files, and {text}, another tool's document, has none",
        hint="It takes locks, environments, images and containers.",
    )


def diff_locks(before: Path, after: Path, context: Context) -> comparing.Difference:
    """Compare two files that must be locks, whatever they are called."""
    one, two = (
        _lock_side(load(path, context.cache), str(path), context) for path in (before, after)
    )
    return _compare(one, two)


def _kept_side(lock: Lock, path: Path, title: str, context: Context) -> _Side:
    """A lock, with the bytes that lie beside *path* and in the cache."""

    def holder() -> AbstractContextManager[Holder]:
        from envfreeze.workflow.deepening import Locked

        return contextlib.nullcontext(Locked(lock, path, context.cache))

    return replace(_lock_side(lock, title, context), holder=holder)


def _seen(this: _Side | _Paper, other: _Side | _Paper) -> _Side:
    """*this*, as *other* lets it be seen."""
    if isinstance(this, _Side):
        return this
    return this.side((other if isinstance(other, _Side) else other.side(None)).view)


def _side(text: str, context: Context) -> _Side | _Paper:
    if is_inside(text):
        return _inside_side(text, context)
    if text.startswith(naming.PID):
        return _observed(_found(text, context), text, context)
    if text.startswith(revisions.PREFIX):
        data, path = revisions.read(text)
        title = text.removeprefix(revisions.PREFIX)
        # What a lock packs is called by its digest: the store of today may have it still.
        return _kept_side(loaded(data, title, context.cache), path, title, context)
    path = Path(text)
    if _is_document(path):
        return _paper(path, text) or _kept_side(load(path, context.cache), path, text, context)
    if not path.exists() and path.suffix in foreign.SUFFIXES:
        raise LockError(f"{text}: no such file")
    return _observed(_found(text, context), text, context)


def _found(text: str, context: Context) -> local.LocalTarget:
    from envfreeze.targets import local  # Two locks are compared without what looks at targets.

    try:
        return local.find(text, context.environ)
    except TargetError as error:
        if text.startswith(naming.PID):
            raise
        raise TargetError(
            str(error), hint="Give a lock, an interpreter, a venv or a prefix."
        ) from error


def _inside_side(text: str, context: Context) -> _Side:
    """A container, an image or an unpacked root; its files are copied out when they are needed."""
    from envfreeze.workflow.reaching import reached

    with reached(text, context, host=True) as found:
        side = _live_side(_described(found.snapshot), text)

    @contextlib.contextmanager
    def holder() -> Iterator[Holder]:
        from envfreeze.workflow.deepening import Live

        with reached(text, context, host=False) as again, again.files() as root:
            yield Live(again.snapshot, root)

    return replace(side, holder=holder)


def _paper(path: Path, title: str) -> _Paper | None:
    """The document of another tool at *path*; None: it is none that is known here.

    :raises LockError: it is surely no lock either.
    """
    try:
        if path.stat().st_size > _MOST:
            return None
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None  # As a lock it is told what is wrong with it.
    kind = foreign.recognized(path.name, text)
    if kind is not None:
        return _Paper(kind=kind, text=text, title=title)
    if path.suffix in foreign.SUFFIXES - {".lock", ".toml"}:
        raise LockError(
            f"{title} is neither a lock nor another document that envfreeze knows",
            hint=f"Besides its own locks it reads: {', '.join(foreign.KINDS)}.",
        )
    return None


def _observed(target: local.LocalTarget, title: str, context: Context) -> _Side:
    from envfreeze.targets import local

    observation = local.observe(target, environ=context.environ, cache=context.cache, host=True)
    snapshot = _described(local.seen(target, observation))

    def holder() -> AbstractContextManager[Holder]:
        from envfreeze.workflow.deepening import Live

        return contextlib.nullcontext(Live(snapshot))

    return replace(_live_side(snapshot, title), holder=holder)


def _described(snapshot: Snapshot) -> Snapshot:
    """With the machine below as a lock has it."""
    from envfreeze.resolve import below

    # As a lock has it: a wheel's metadata tell the whole version of a library in it.
    host = below.described(snapshot, lambda _paths: {})
    return msgspec.structs.replace(snapshot, host=host)


def _is_document(path: Path) -> bool:
    """A regular file that cannot be run is read as a lock, or as another tool's."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and (not mode & 0o111 or path.suffix in foreign.SUFFIXES)


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
    before = _lock_side(lock, str(lock_path), context)
    after = _live_side(snapshot, f"image:{image}")
    difference = _held(before, after)
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
    before = _lock_side(lock, str(lock_path), context)
    after = _live_side(snapshot, target)
    difference = _held(before, after)
    return Verified(
        lock=lock,
        lock_path=lock_path,
        difference=difference,
        verdicts=verdict.verdicts(lock, difference, _counts(after), comparing.LAYERS),
    )
