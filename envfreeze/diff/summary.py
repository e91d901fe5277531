"""How much two environments have in common, layer by layer: numbers for a picture. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from envfreeze.diff.compare import LAYERS, Change, Difference, Layer
from envfreeze.diff.view import View


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One environment's part of a layer."""

    items: int
    size: int | None = None
    """Bytes of the files it is placed from; None: not known of any."""
    measured: int = 0
    """How many files :attr:`size` is the sum of."""


class LayerSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of both environments."""

    layer: Layer
    before: Side | None
    """None: that side did not look."""
    after: Side | None
    shared: int = 0
    """The same on both sides, as far as both know it."""
    differing: int = 0
    before_only: int = 0
    after_only: int = 0
    unknown: int = 0
    """One side does not know enough to compare."""

    @property
    def compared(self) -> int:
        """How many names the bar is made of."""
        return sum((self.shared, self.differing, self.before_only, self.after_only, self.unknown))


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Both environments."""

    before: str
    after: str
    layers: list[LayerSummary]
    """Those that at least one side has something of, in the order of the layers."""


def summarize(before: View, after: View, difference: Difference) -> Summary:
    """The numbers of *before* and *after*, by the changes that :func:`compare` found in them."""
    each = [_layer(layer, before, after, difference.changes) for layer in LAYERS]
    shown = [one for one in each if one.compared or _has(one.before) or _has(one.after)]
    return Summary(before=difference.before, after=difference.after, layers=shown)


def _has(side: Side | None) -> bool:
    return side is not None and side.items > 0


def _layer(layer: Layer, before: View, after: View, changes: list[Change]) -> LayerSummary:
    one, two = _names(layer, before), _names(layer, after)
    here = {change.name: change.kind for change in changes if change.layer == layer}
    both = (one or set()) & (two or set())
    count = Counter(here.values())
    same = sum(1 for name in both if here.get(name, "proof") == "proof")
    return LayerSummary(
        layer=layer,
        before=_side(one, before.sizes.get(layer, {})),
        after=_side(two, after.sizes.get(layer, {})),
        shared=same,
        differing=count["changed"] + count["content"],
        before_only=count["removed"],
        after_only=count["added"],
        unknown=count["unknown"],
    )


def _side(names: set[str] | None, sizes: dict[str, int]) -> Side | None:
    if names is None:
        return None
    size = sum(sizes.values()) if sizes else None
    return Side(items=len(names), size=size, measured=len(sizes))


def _names(layer: Layer, view: View) -> set[str] | None:
    """What a view has in a layer; None: it was not looked at."""
    if layer in {"platform", "accelerator", "numerics"}:
        part = (view.below or {}).get(layer)
        return None if part is None else set(part)
    if layer == "conda":
        return {*view.conda, *view.prefix}
    if layer == "system":
        return None if view.system is None else set(view.system)
    known: dict[str, Iterable[str]] = {
        "interpreter": view.interpreter,
        "packages": view.packages,
        "shadowed": view.shadowed,
        "files": view.files,
        "sources": view.sources,
    }
    return set(known[layer]) if layer in known else None
