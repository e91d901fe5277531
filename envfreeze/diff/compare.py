"""What differs between two views: pure, symmetric, and empty for equal ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from envfreeze.diff.view import Item, View

Kind = Literal["added", "removed", "changed", "content", "proof", "unknown"]
"""``content``: same version, other bytes; ``proof``: same bytes, proved another way;
``unknown``: one side does not know, which is not a difference."""

Layer = Literal["interpreter", "packages", "files", "system"]

LAYERS: tuple[Layer, ...] = ("interpreter", "packages", "files", "system")


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference. ``before`` and ``after`` are words for a person."""

    layer: Layer
    kind: Kind
    name: str
    before: str | None = None
    after: str | None = None
    files: list[str] = []
    """The files concerned, where they are known."""

    @property
    def counts(self) -> bool:
        """Whether the environments differ by it: another proof of the same bytes does not."""
        return self.kind not in {"proof", "unknown"}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    before: str
    after: str
    changes: list[Change]

    @property
    def equal(self) -> bool:
        return not any(change.counts for change in self.changes)


def compare(before: View, after: View, layers: tuple[Layer, ...] = LAYERS) -> Difference:
    """What one finds going from *before* to *after*, in the order of :data:`LAYERS`."""
    each = {
        "interpreter": _interpreter,
        "packages": _packages,
        "files": _files,
        "system": _system,
    }
    changes = [change for layer in layers for change in each[layer](before, after)]
    return Difference(before=before.title, after=after.title, changes=changes)


def _interpreter(before: View, after: View) -> Iterator[Change]:
    for key in sorted({*before.interpreter, *after.interpreter}):
        one, two = before.interpreter.get(key), after.interpreter.get(key)
        if one != two:
            yield Change(layer="interpreter", kind="changed", name=key, before=one, after=two)


def _packages(before: View, after: View) -> Iterator[Change]:
    for name in sorted({*before.packages, *after.packages}):
        one, two = before.packages.get(name), after.packages.get(name)
        if one is None and two is not None:
            yield Change(layer="packages", kind="added", name=name, after=two.version)
        elif two is None and one is not None:
            yield Change(layer="packages", kind="removed", name=name, before=one.version)
        elif one is not None and two is not None:
            change = _package(one, two)
            if change is not None:
                yield change


def _package(one: Item, two: Item) -> Change | None:
    if one.version != two.version:
        return Change(
            layer="packages",
            kind="changed",
            name=one.name,
            before=one.version,
            after=two.version,
        )
    if one.tree is not None and two.tree is not None and one.tree != two.tree:
        return Change(
            layer="packages",
            kind="content",
            name=one.name,
            before=one.version,
            after=two.version,
            files=sorted({*one.changed, *two.changed}),
        )
    if (one.tree is None) != (two.tree is None):
        return Change(layer="packages", kind="unknown", name=one.name, before=one.version)
    if one.proof and two.proof and one.proof != two.proof:
        return Change(
            layer="packages", kind="proof", name=one.name, before=one.proof, after=two.proof
        )
    return None


def _files(before: View, after: View) -> Iterator[Change]:
    for path in sorted({*before.files, *after.files}):
        one, two = before.files.get(path), after.files.get(path)
        if _unread(before, path) or _unread(after, path):
            yield Change(layer="files", kind="unknown", name=path, files=[path])
        elif one != two:
            kind: Kind = "added" if one is None else "removed" if two is None else "content"
            yield Change(
                layer="files",
                kind=kind,
                name=path,
                before=_short(one),
                after=_short(two),
                files=[path],
            )


def _unread(view: View, path: str) -> bool:
    return path in view.files and view.files[path] is None


def _short(content: str | None) -> str | None:
    """The first digits of a digest; what is said beside it stays."""
    if content is None or content.startswith("link"):
        return content
    digest, mark, rest = content.partition(" ")
    return digest[:12] + mark + rest


def _system(before: View, after: View) -> Iterator[Change]:
    if before.system is None and after.system is None:
        return
    if before.system is None or after.system is None:
        known = before if before.system is not None else after
        if known.system and not known.system_whole:
            yield Change(layer="system", kind="unknown", name="system packages")
        return
    for name in sorted(_compared(before, after)):
        one, two = before.system.get(name), after.system.get(name)
        if one != two:
            kind: Kind = "added" if one is None else "removed" if two is None else "changed"
            yield Change(layer="system", kind=kind, name=name, before=one, after=two)


def _compared(before: View, after: View) -> set[str]:
    """Against a list of needed packages, only those are compared: others do not matter to it."""
    one, two = set(before.system or ()), set(after.system or ())
    if before.system_whole and not after.system_whole:
        return two
    if after.system_whole and not before.system_whole:
        return one
    return one | two
