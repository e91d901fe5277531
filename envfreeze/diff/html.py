"""A judged difference as one HTML file that needs nothing else. Pure.

Its style and script stand in it, and its policy names their digests: nothing else runs and
nothing is fetched, whatever a name in a lock holds. Jinja escapes each value.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from envfreeze.data.templates import template_text
from envfreeze.diff.deep import FileDifference, as_text
from envfreeze.diff.judge import LEVELS, WORDS, Judged, Judgement, Level
from envfreeze.diff.summary import LayerSummary, Side, Summary
from envfreeze.diff.words import KIND_WORDS, LAYER_WORDS
from envfreeze.errors import printable
from envfreeze.model.lines import line
from envfreeze.model.words import plural, size

if TYPE_CHECKING:
    import jinja2

_PAGE = re.compile(r"https://[\w./?&=#%~+:@!,;()-]+", re.ASCII)

FILES = 200
"""Files of one change before the rest is counted."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    level: Level
    layer: str
    title: str
    """The layer in words."""
    name: str
    kind: str
    before: str
    after: str
    reason: str
    facts: list[tuple[str, str]]
    """What else is known, each with what it is."""
    source: str
    link: bool
    """Whether the source is a page."""
    note: str
    files: list[str]
    more_files: int
    deep: str
    """What differs in its files, as lines of text."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a bar, in thousandths of it."""

    kind: str
    x: int
    width: int


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of the picture: each side in words, and what both bars are made of."""

    title: str
    before: str
    before_size: str
    before_weight: int
    """In thousandths of the largest layer; 0: not known, or nothing."""
    after: str
    after_size: str
    after_weight: int
    words: str
    """What :attr:`segments` show."""
    segments: list[Segment]


def as_html(
    judgement: Judgement,
    summary: Summary | None = None,
    files: Sequence[FileDifference] = (),
) -> str:
    """The page; *summary* is what the picture of both environments is made from.

    :param files: what differs in the files, which is shown with the change that it belongs to.
    """
    deep = {key: as_text(list(found)) for key, found in groupby(files, key=_belongs)}
    style, script = template_text("report.css"), template_text("report.js")
    difference = judgement.difference
    layers = Counter(one.change.layer for one in judgement.judged)
    levels = Counter(one.level for one in judgement.judged)
    return _compiled(template_text("report.html.j2")).render(
        style=_Trusted(style),
        script=_Trusted(script),
        style_digest=_digest(style),
        script_digest=_digest(script),
        verdict=line(judgement.verdict),
        before=line(difference.before),
        after=line(difference.after),
        total=len(judgement.judged),
        levels=[(level, WORDS[level], levels[level]) for level in LEVELS if levels[level]],
        layers=[(key, LAYER_WORDS[key], layers[key]) for key in LAYER_WORDS if layers[key]],
        words=WORDS,
        rows=[
            _row(one, deep.get((one.change.layer, one.change.name), "")) for one in judgement.judged
        ],
        bars=_bars(summary) if summary else [],
        sized=summary is not None and _largest(summary) > 0,
    )


class _Trusted(str):
    """Our own text, which is not escaped."""

    def __html__(self) -> str:
        return self


@functools.lru_cache(maxsize=4)
def _compiled(text: str) -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True
    )
    return environment.from_string(text)


def _digest(text: str) -> str:
    """As a Content-Security-Policy names what may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _belongs(file: FileDifference) -> tuple[str, str]:
    return file.layer, file.name


def _row(one: Judged, deep: str) -> Row:
    change = one.change
    facts = [
        ("What", KIND_WORDS[change.kind]),
        ("Step", one.step or ""),
        ("Rule", one.rule or "none fits"),
    ]
    return Row(
        level=one.level,
        layer=change.layer,
        title=LAYER_WORDS[change.layer],
        name=line(change.name),
        kind=KIND_WORDS[change.kind],
        before=line(change.before or ""),
        after=line(change.after or ""),
        reason=line(one.reason),
        facts=[(title, line(word)) for title, word in facts if word],
        source=line(one.source),
        link=_PAGE.fullmatch(one.source) is not None,
        note=printable(change.note or ""),
        files=[line(path) for path in change.files[:FILES]],
        more_files=max(0, len(change.files) - FILES),
        deep=deep.strip("\n"),
    )


# --- the picture -------------------------------------------------------------------------------


def _bars(summary: Summary) -> list[Bar]:
    largest = _largest(summary)
    return [
        Bar(
            title=LAYER_WORDS[one.layer],
            before=_items(one, one.before),
            before_size=_size(one.before),
            before_weight=_weight(one.before, largest),
            after=_items(one, one.after),
            after_size=_size(one.after),
            after_weight=_weight(one.after, largest),
            words=_words(one),
            segments=_segments(one),
        )
        for one in summary.layers
    ]


def _largest(summary: Summary) -> int:
    sides = [side for one in summary.layers for side in (one.before, one.after)]
    return max((side.size or 0 for side in sides if side is not None), default=0)


_NOUNS = {
    "packages": "package",
    "shadowed": "package",
    "system": "package",
    "files": "file",
    "sources": "tree",
    "conda": "entry",
}
"""Of what a layer is a number; others are facts."""


def _items(one: LayerSummary, side: Side | None) -> str:
    if side is None:
        return "not known"
    noun = _NOUNS.get(one.layer, "fact")
    return plural(side.items, noun, "entries" if noun == "entry" else "")


def _size(side: Side | None) -> str:
    """The bytes of its files; how many they are, where not each item has one."""
    if side is None or side.size is None:
        return ""
    part = f" in {plural(side.measured, 'file')}" if side.measured != side.items else ""
    return size(side.size) + part


def _weight(side: Side | None, largest: int) -> int:
    if side is None or not side.size or not largest:
        return 0
    return max(8, round(1000 * side.size / largest))


def _parts(one: LayerSummary) -> list[tuple[str, int]]:
    return [
        ("before", one.before_only),
        ("shared", one.shared),
        ("unknown", one.unknown),
        ("differs", one.differing),
        ("after", one.after_only),
    ]


def _words(one: LayerSummary) -> str:
    said = {
        "before": f"{one.before_only:,} only before",
        "shared": f"{one.shared:,} shared",
        "unknown": f"{one.unknown:,} not compared",
        "differs": f"{one.differing:,} {'differs' if one.differing == 1 else 'differ'}",
        "after": f"{one.after_only:,} only after",
    }
    return ", ".join(said[kind] for kind, count in _parts(one) if count) or "nothing to compare"


_LEAST = 12
"""Thousandths: what is there is seen."""


def _segments(one: LayerSummary) -> list[Segment]:
    """Side by side over the whole bar; the small ones take what they need from the others."""
    parts = [(kind, count) for kind, count in _parts(one) if count]
    total = sum(count for _, count in parts)
    free = 1000 - _LEAST * len(parts)
    found, x, seen = [], 0, 0
    for place, (kind, count) in enumerate(parts, 1):
        seen += count
        end = _LEAST * place + free * seen // total
        found.append(Segment(kind=kind, x=x, width=end - x))
        x = end
    return found
