"""``envfreeze show --tree`` and ``--why``: what needs what, drawn for a terminal or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from envfreeze.model import printed
from envfreeze.model.graph import Edge, Graph, Key, Node
from envfreeze.model.lines import line, utf8
from envfreeze.model.why import Why

_KINDS = {"conda": " (conda)", "system": " (system)"}
NOTHING = (
    "nothing in this lock needs another package; if an earlier envfreeze wrote it, capture again"
)


class JsonNeed(msgspec.Struct, kw_only=True, omit_defaults=True):
    kind: str
    name: str
    condition: str = ""


class JsonPackage(msgspec.Struct, kw_only=True):
    kind: str
    name: str
    version: str
    asked_for: bool
    needs: list[JsonNeed]
    optional: list[JsonNeed]
    """Under an extra that nothing in the lock asks for."""
    missing: list[str]


class JsonTree(msgspec.Struct, kw_only=True):
    """What ``envfreeze show --tree --json`` prints: schema 1."""

    schema: int
    roots: list[JsonNeed]
    packages: list[JsonPackage]


class JsonReason(msgspec.Struct, kw_only=True):
    kind: str
    name: str
    version: str
    reasons: list[str]
    ways: list[list[JsonNeed]]
    more: bool


class JsonWhy(msgspec.Struct, kw_only=True):
    """What ``envfreeze show --why NAME --json`` prints: schema 1."""

    schema: int
    name: str
    found: list[JsonReason]


def tree_json(known: Graph) -> bytes:
    packages = [
        JsonPackage(
            kind=key[0],
            name=key[1],
            version=utf8(node.version),
            asked_for=node.asked,
            needs=list(map(_need, node.needs)),
            optional=list(map(_need, node.optional)),
            missing=list(map(utf8, node.missing)),
        )
        for key, node in sorted(known.nodes.items())
    ]
    return printed.as_json(
        JsonTree(schema=1, roots=list(map(_key, known.roots)), packages=packages)
    )


def why_json(name: str, found: list[Why]) -> bytes:
    reasons = [
        JsonReason(
            kind=one.node.key[0],
            name=one.node.name,
            version=utf8(one.node.version),
            reasons=list(map(utf8, one.reasons)),
            ways=[list(map(_key, way)) for way in one.ways.found],
            more=one.ways.more,
        )
        for one in found
    ]
    return printed.as_json(JsonWhy(schema=1, name=utf8(name), found=reasons))


def _key(key: Key) -> JsonNeed:
    return JsonNeed(kind=key[0], name=key[1])


def _need(edge: Edge) -> JsonNeed:
    return JsonNeed(kind=edge.to[0], name=edge.to[1], condition=utf8(edge.condition))


# --- as text -------------------------------------------------------------------------------


def tree_text(known: Graph, width: int | None = None) -> str:
    """The distributions and conda packages, each below what needs it, roots first.

    :param width: columns that a line may take; None: as many as it needs.
    """
    roots = [key for key in known.roots if key[0] != "system"]
    lines = [_cut(text, width) for text in _Drawing(known, width).lines(roots)]
    if not any(known.nodes[key].needs for key in known.nodes if key[0] != "system"):
        lines.append(NOTHING)
    return "".join(f"{text}\n" for text in lines)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node is drawn."""

    key: Key
    note: str = ""
    before: str = ""
    """What stands before the lines of its children."""
    depth: int = 0
    last: bool = True


class _Drawing:
    def __init__(self, known: Graph, width: int | None) -> None:
        self._known = known
        self._deepest = max(2, width // 8) if width is not None else 20
        """From here on a number stands for the indent: a long chain stays readable."""

    def lines(self, roots: list[Key]) -> Iterator[str]:
        drawn: set[Key] = set()
        stack = [_Place(key, self._offered(key)) for key in reversed(roots)]
        while stack:
            place = stack.pop()
            node = self._known.nodes[place.key]
            again = place.key in drawn and bool(node.needs)
            yield self._indent(place) + _title(node, place.note) + (" (see above)" if again else "")
            if place.key in drawn:
                continue
            drawn.add(place.key)
            below = self._below(place)
            stack += reversed(below)
            bar = self._children(place)
            yield from (f"{bar}!── {line(text)}: MISSING" for text in node.missing)

    def _offered(self, key: Key) -> str:
        offers = self._known.offered_by.get(key, [])
        if not offers or self._known.nodes[key].asked:
            return ""
        needing, condition = offers[0]
        return f"maybe for {needing[1]}, {condition}"

    def _below(self, place: _Place) -> list[_Place]:
        needs = {edge.to: edge for edge in self._known.nodes[place.key].needs}
        edges = [needs[key] for key in sorted(needs)]
        return [
            _Place(
                edge.to,
                edge.condition,
                self._children(place),
                place.depth + 1,
                last=edge is edges[-1],
            )
            for edge in edges
        ]

    def _children(self, place: _Place) -> str:
        if place.depth == 0 or place.depth >= self._deepest:
            return place.before
        return place.before + ("    " if place.last else "│   ")

    def _indent(self, place: _Place) -> str:
        if place.depth == 0:
            return ""
        number = f"[{place.depth}] " if place.depth > self._deepest else ""
        return f"{place.before}{'└' if place.last else '├'}── {number}"


def _title(node: Node, note: str = "", *, kind: bool = True) -> str:
    said = f" {line(node.version)}" if node.version else ""
    told = f" ({line(note)})" if note else ""
    return f"{line(node.name)}{said}{_KINDS.get(node.key[0], '') if kind else ''}{told}"


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: width - 1] + "…"


def why_text(known: Graph, found: list[Why], width: int | None = None) -> str:
    """Each way from a root, a line each; what is known besides stands before them."""
    lines = []
    for one in found:
        lines.append(_title(one.node))
        lines += [f"  {line(reason)}" for reason in one.reasons]
        for way in one.ways.found:
            if len(way) > 1:
                lines += _way([known.nodes[key] for key in way], width)
        if one.ways.more:
            lines.append("  and more ways")
    return "".join(f"{text}\n" for text in lines)


def absent(known: Graph, name: str) -> str:
    """That the lock has no *name*, and what it has that is called almost so."""
    import difflib

    names = sorted({key[1] for key in known.nodes})
    near = difflib.get_close_matches(name.lower(), names, n=3)
    hint = f"; it has {', '.join(map(line, near))}" if near else ""
    return f"the lock has no package {line(name)}{hint}"


def _way(nodes: list[Node], width: int | None) -> list[str]:
    """``a 1 → b 2 → c 3``, broken between packages."""
    lines, current = [], "  "
    for place, node in enumerate(nodes):
        alike = place and nodes[place - 1].key[0] == node.key[0]
        title = _title(node, kind=not alike)
        part = title if place == 0 else f" → {title}"
        if place and width is not None and len(current) + len(part) > width:
            lines.append(current)
            current = "   "
        current += part
    return [_cut(text, width) for text in [*lines, current]]
