"""``envfreeze diff``: two sides, each a lock, a target or a document of another tool."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.diff import compare as comparing
from envfreeze.diff import foreign, view
from envfreeze.errors import LockError, UsageError
from envfreeze.targets import naming
from envfreeze.targets.naming import is_inside
from envfreeze.workflow import revisions
from envfreeze.workflow.context import Context, load, loaded
from envfreeze.workflow.papers import Paper, paper_at
from envfreeze.workflow.viewing import Side, inside_side, kept_side, lock_side, observed, target_of

if TYPE_CHECKING:
    from envfreeze.diff.deep import FileDifference
    from envfreeze.diff.summary import Summary
    from envfreeze.workflow.deepening import Holder


def compare_sides(
    before: Side, after: Side, layers: tuple[comparing.Layer, ...] = comparing.LAYERS
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


def held(
    lock: Side, target: Side, layers: tuple[comparing.Layer, ...] = comparing.LAYERS
) -> comparing.Difference:
    """How *target* differs from the lock that it is held against: whoever placed the bytes that
    the lock asks for, they are those."""
    difference = compare_sides(lock, target, layers)
    changes = [change for change in difference.changes if change.kind != "installer"]
    return msgspec.structs.replace(difference, changes=changes)


def _with_files(change: comparing.Change, before: Side, after: Side) -> comparing.Change:
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
class Comparison:
    """Two sides, and how they differ."""

    difference: comparing.Difference
    _sides: tuple[Side, Side]
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
        if isinstance(side, Paper):
            raise _out_of_reach(text)
    one, two = _seen(left, right), _seen(right, left)
    return Comparison(
        difference=compare_sides(one, two, layers),
        _sides=(one, two),
        _texts=(before, after),
        _context=context,
    )


def diff(before: str, after: str, context: Context) -> comparing.Difference:
    """How two sides differ, each a lock, a target or a document of another tool."""
    return compared(before, after, context).difference


def _holder(side: Side, text: str) -> Callable[[], AbstractContextManager[Holder]]:
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
        lock_side(load(path, context.cache), str(path), context) for path in (before, after)
    )
    return compare_sides(one, two)


def _seen(this: Side | Paper, other: Side | Paper) -> Side:
    """*this*, as *other* lets it be seen."""
    if isinstance(this, Side):
        return this
    return this.side((other if isinstance(other, Side) else other.side(None)).view)


def _side(text: str, context: Context) -> Side | Paper:
    if is_inside(text):
        return inside_side(text, context)
    if text.startswith(naming.PID):
        return observed(target_of(text, context), text, context)
    if text.startswith(revisions.PREFIX):
        data, path = revisions.read(text)
        title = text.removeprefix(revisions.PREFIX)
        # What a lock packs is called by its digest: the store of today may have it still.
        return kept_side(loaded(data, title, context.cache), path, title, context)
    path = Path(text)
    if _is_document(path):
        return paper_at(path, text) or kept_side(load(path, context.cache), path, text, context)
    if not path.exists() and path.suffix in foreign.SUFFIXES:
        raise LockError(f"{text}: no such file")
    return observed(target_of(text, context), text, context)


def _is_document(path: Path) -> bool:
    """A regular file that cannot be run is read as a lock, or as another tool's."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and (not mode & 0o111 or path.suffix in foreign.SUFFIXES)
