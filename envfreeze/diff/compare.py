"""What differs between two views: pure, symmetric, and empty for equal ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, get_args

import msgspec
from msgspec.structs import replace

from envfreeze.diff.view import Item, View

Kind = Literal["added", "removed", "changed", "content", "proof", "installer", "unknown"]
"""``content``: same version, other bytes; ``proof``: same bytes, proved another way;
``installer``: same bytes, placed by another program; of as many packages as that is true of;
``unknown``: one side does not know, which is not a difference."""

Layer = Literal[
    "interpreter",
    "packages",
    "shadowed",
    "files",
    "sources",
    "conda",
    "system",
    "environment",
    "platform",
    "accelerator",
    "numerics",
]

LAYERS: tuple[Layer, ...] = get_args(Layer)
BELOW: tuple[Layer, ...] = ("platform", "accelerator", "numerics")
"""The machine below: no environment brings it, so that none is another one for it."""


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference. ``before`` and ``after`` are words for a person."""

    layer: Layer
    kind: Kind
    name: str
    before: str | None = None
    after: str | None = None
    files: list[str] = []
    """The files concerned, where they are known."""
    note: str | None = None
    """What else is known of it, for a person."""

    @property
    def counts(self) -> bool:
        """Whether the environments differ by it: another proof or installer of the same bytes does
        not, nor does another machine below."""
        return self.kind not in {"proof", "installer", "unknown"} and self.layer not in BELOW


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
    each: dict[str, Callable[[View, View], Iterator[Change]]] = {
        "interpreter": _interpreter,
        "packages": _packages,
        "shadowed": _shadowed,
        "files": _files,
        "sources": _sources,
        "conda": _conda,
        "system": _system,
        # Only what looks inside an image knows it (envfreeze.diff.inside).
        "environment": lambda _before, _after: iter(()),
        **{part: functools.partial(_below, part) for part in BELOW},
    }
    changes = [change for layer in layers for change in each[layer](before, after)]
    return Difference(before=before.title, after=after.title, changes=changes)


def _untold(layer: Layer, what: str, before: View, after: View) -> Iterator[Change]:
    """The one thing to say of a layer where a side says nothing of it and the other has some."""
    if any(_has(what, side) for side in (before, after)):
        yield Change(layer=layer, kind="unknown", name=_WHOLE[what])


_WHOLE = {
    "interpreter": "interpreter",
    "packages": "packages",
    "shadowed": "shadowed packages",
    "files": "files that no package owns",
    "sources": "source trees",
    "conda": "conda packages",
    "prefix": "files of the prefix that no package owns",
    "system": "system packages",
}
"""Names that no entry of the layer has, for a layer as a whole."""
_OTHERS = "other packages"
_SHOWN = 8


def _has(what: str, side: View) -> bool:
    return side.reaches(what) != "none" and bool(getattr(side, what))


def _dark(what: str, before: View, after: View) -> bool:
    """Whether one of them says nothing of that layer."""
    return "none" in {before.reaches(what), after.reaches(what)}


def _interpreter(before: View, after: View) -> Iterator[Change]:
    if _dark("interpreter", before, after):
        yield from _untold("interpreter", "interpreter", before, after)
        return
    for key in sorted({*before.interpreter, *after.interpreter}):
        one, two = before.interpreter.get(key), after.interpreter.get(key)
        if one != two:
            yield Change(layer="interpreter", kind="changed", name=key, before=one, after=two)


def _packages(before: View, after: View) -> Iterator[Change]:
    yield from _items("packages", before, after)


def _shadowed(before: View, after: View) -> Iterator[Change]:
    yield from _items("shadowed", before, after)


def _items(layer: Layer, before: View, after: View) -> Iterator[Change]:
    if _dark(layer, before, after):
        yield from _untold(layer, layer, before, after)
        return
    mine, theirs = getattr(before, layer), getattr(after, layer)
    open_here, open_there = before.open.get(layer, {}), after.open.get(layer, {})
    unsure = {*open_here, *open_there}
    unnamed = []
    placed: dict[tuple[str, str], list[str]] = {}
    for name in sorted({*mine, *theirs, *unsure}):
        one, two = mine.get(name), theirs.get(name)
        if name in unsure:
            if open_here.get(name) != open_there.get(name):
                yield _unsure(layer, name, (one, open_here), (two, open_there))
        elif one is None or two is None:
            if (before if one is None else after).lacks(layer, name):
                yield _there(layer, name, one, two)
            else:
                unnamed.append(name)
        else:
            blank = Change(layer=layer, kind="unknown", name=name)
            change = _item(blank, one, two, trees=before.trees and after.trees)
            moved = _installers(one, two)
            if change is not None:
                yield _told_with(change, moved) if change.counts else change
            if moved and _same_bytes(one, two) and not (change and change.counts):
                placed.setdefault(moved, []).append(name)
    yield from _placed_otherwise(layer, placed)
    if unnamed:
        yield Change(layer=layer, kind="unknown", name=_OTHERS, note=_unnamed(unnamed))


def _installers(one: Item, two: Item) -> tuple[str, str] | None:
    """What installed either, where that is known and not the same."""
    if one.installer is None or two.installer is None or one.installer == two.installer:
        return None
    return one.installer, two.installer


def _same_bytes(one: Item, two: Item) -> bool:
    return one.tree is not None and one.tree == two.tree


def _told_with(change: Change, moved: tuple[str, str] | None) -> Change:
    """*change*, whose note tells of another installer, too."""
    if moved is None:
        return change
    said = f"installed by {moved[0]}, then by {moved[1]}"
    return replace(change, note="; ".join(filter(None, (change.note, said))))


def _placed_otherwise(
    layer: Layer, placed: Mapping[tuple[str, str], list[str]]
) -> Iterator[Change]:
    """One line for all packages that one program had installed, and then another."""
    for (one, two), names in sorted(placed.items(), key=lambda row: (sorted(row[0]), row[1])):
        what = names[0] if len(names) == 1 else f"{len(names)} packages"
        yield Change(
            layer=layer,
            kind="installer",
            name=f"installer of {what}",
            before=one,
            after=two,
            note=None if len(names) == 1 else _listed(names),
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _there(layer: Layer, name: str, one: Item | None, two: Item | None) -> Change:
    """It is on one side, and known not to be on the other."""
    kind: Kind = "added" if one is None else "removed"
    return Change(layer=layer, kind=kind, name=name, before=_version(one), after=_version(two))


def _version(item: Item | None) -> str | None:
    return None if item is None else item.version


def _unsure(
    layer: Layer,
    name: str,
    one: tuple[Item | None, Mapping[str, str]],
    two: tuple[Item | None, Mapping[str, str]],
) -> Change:
    """A side names it, and does not know whether it is there, or in which version."""
    before, after = (_version(item) for item, _ in (one, two))
    known = [said[name] for _, said in (one, two) if name in said]
    note = "; on the other side ".join(known)
    return Change(
        layer=layer, kind="unknown", name=name, before=before, after=after, note=note or None
    )


def _unnamed(names: list[str]) -> str:
    shown = _listed(names)
    one = len(names) == 1
    return (
        f"{len(names)} package{'' if one else 's'} that a side does not list and may have: {shown}"
    )


def _item(blank: Change, one: Item, two: Item, *, trees: bool = True) -> Change | None:
    """*blank*, filled in with how *one* and *two* differ.

    :param trees: whether both sides know files of distributions at all.
    """
    if one.version != two.version:
        note = "not a version that is asked for" if one.asked or two.asked else None
        return replace(blank, kind="changed", before=one.version, after=two.version, note=note)
    if _from_another(one, two) or _from_another(two, one):
        blank = replace(blank, note="placed from a file that the other side does not list")
        return replace(blank, kind="content", before=one.version, after=two.version)
    if not trees:
        return None
    if one.tree is not None and two.tree is not None and one.tree != two.tree:
        files = sorted({*one.changed, *two.changed})
        note = _built(one.origin, two.origin)
        blank = replace(blank, before=one.version, after=two.version, note=note)
        return replace(blank, kind="content", files=files)
    if (one.tree is None) != (two.tree is None):
        return replace(blank, before=one.version)
    if one.proof and two.proof and one.proof != two.proof:
        return replace(blank, kind="proof", before=one.proof, after=two.proof)
    return None


def _from_another(listing: Item, placed: Item) -> bool:
    """Whether *placed* was proved to be a file of an index, and *listing* has another list."""
    if not listing.listed or placed.artifact is None or placed.proof != "proved":
        return False
    return placed.artifact not in listing.listed


def _sources(before: View, after: View) -> Iterator[Change]:
    if _dark("sources", before, after):
        yield from _untold("sources", "sources", before, after)
        return
    for key in sorted({*before.sources, *after.sources}):
        one, two = before.sources.get(key), after.sources.get(key)
        if one != two:
            yield Change(
                layer="sources",
                kind="added" if one is None else "removed" if two is None else "content",
                name=key,
                before=_short(one),
                after=_short(two),
            )


def _built(one: str | None, two: str | None) -> str | None:
    """Whether the same source was built twice, which need not give the same bytes."""
    if one is None or two is None:
        return None
    return f"built from {one} both times" if one == two else f"built from {one}, then from {two}"


def _conda(before: View, after: View) -> Iterator[Change]:
    """Conda's packages, and the files of the prefix that none of them owns."""
    for change in _items("conda", before, after):
        # What a channel is called is told, and is no difference of the environments.
        one, two = before.conda.get(change.name), after.conda.get(change.name)
        moved = one and two and one.origin and two.origin and one.origin != two.origin
        note = f"from {one.origin}, then from {two.origin}" if one and two and moved else None
        yield replace(change, note=note or change.note)
    if _dark("prefix", before, after):
        yield from _untold("conda", "prefix", before, after)
    else:
        yield from _unowned("conda", before.prefix, after.prefix)


def _files(before: View, after: View) -> Iterator[Change]:
    if _dark("files", before, after):
        yield from _untold("files", "files", before, after)
    else:
        yield from _unowned("files", before.files, after.files)


def _unowned(
    layer: Layer, before: Mapping[str, str | None], after: Mapping[str, str | None]
) -> Iterator[Change]:
    for path in sorted({*before, *after}):
        files = [path] if layer == "files" else []  # Elsewhere they are what packages have.
        one, two = before.get(path), after.get(path)
        if _unread(before, path) or _unread(after, path):
            yield Change(layer=layer, kind="unknown", name=path, files=files)
        elif one != two:
            kind: Kind = "added" if one is None else "removed" if two is None else "content"
            yield Change(
                layer=layer,
                kind=kind,
                name=path,
                before=_short(one),
                after=_short(two),
                files=files,
            )


def _below(part: Layer, before: View, after: View) -> Iterator[Change]:
    """Facts of the machine; nothing is said where one side did not look."""
    one, two = (before.below or {}).get(part), (after.below or {}).get(part)
    if one is None or two is None:
        return
    for name in sorted({*one, *two}):
        was, now = one.get(name), two.get(name)
        if was != now:
            kind: Kind = "added" if was is None else "removed" if now is None else "changed"
            yield Change(layer=part, kind=kind, name=name, before=was, after=now)


def _unread(files: Mapping[str, str | None], path: str) -> bool:
    return path in files and files[path] is None


def _short(content: str | None) -> str | None:
    """The first digits of a digest; what is said beside it stays."""
    if content is None or content.startswith("link"):
        return content
    digest, mark, rest = content.partition(" ")
    return digest[:12] + mark + rest


def _system(before: View, after: View) -> Iterator[Change]:
    if _dark("system", before, after):
        yield from _untold("system", "system", before, after)
        return
    if before.system is None and after.system is None:
        return
    if before.system is None or after.system is None:
        known = before if before.system is not None else after
        if known.system and not known.system_whole:
            yield Change(layer="system", kind="unknown", name="system packages")
        return
    unnamed = False
    for name in sorted(_compared(before, after)):
        one, two = before.system.get(name), after.system.get(name)
        if (one is None and before.reaches("system") == "some") or (
            two is None and after.reaches("system") == "some"
        ):
            unnamed = True
        elif one != two:
            kind: Kind = "added" if one is None else "removed" if two is None else "changed"
            yield Change(layer="system", kind=kind, name=name, before=one, after=two)
    if unnamed:
        yield Change(layer="system", kind="unknown", name="other system packages")


def _compared(before: View, after: View) -> set[str]:
    """Against a list of needed packages, only those are compared: others do not matter to it."""
    one, two = set(before.system or ()), set(after.system or ())
    if before.system_whole and not after.system_whole:
        return two
    if after.system_whole and not before.system_whole:
        return one
    return one | two
