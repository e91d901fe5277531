"""What each difference may do to results, by rules that are data. Pure.

The first rule that fits a change judges it; a user's own rules come before ours. What no rule
fits is unknown, which is an answer of its own: nobody said that it is harmless.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from typing import Literal, get_args

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envfreeze.data import settings
from envfreeze.diff import steps
from envfreeze.diff.compare import LAYERS, Change, Difference, Kind, Layer
from envfreeze.diff.steps import Step
from envfreeze.model import toml
from envfreeze.model.lines import line
from envfreeze.model.words import plural

Level = Literal["changes", "may-change", "unknown", "harmless"]
"""Worst first: results change, they may, nobody knows, they do not."""

LEVELS: tuple[Level, ...] = get_args(Level)

WORDS: dict[Level, str] = {
    "changes": "changes results",
    "may-change": "may change results",
    "unknown": "of unknown effect",
    "harmless": "does not change results",
}


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """One row of ``rules.toml``, or of a user's ``[[tool.envfreeze.rules]]``.

    Each condition that is given must hold; a list holds if any of its entries does. Rules do not
    know which side is which: turned round, a difference is judged alike.
    """

    id: str
    layers: list[Layer] = []
    names: list[str] = []
    """Shell patterns over the change's name, without regard to case; of a system package's name
    without its architecture."""
    kinds: list[Kind] = []
    steps: list[Step] = []
    """How the version moved; see :mod:`envfreeze.diff.steps`."""
    values: str | None = None
    """A regular expression that is found in what was before or what is after."""
    differs: str | None = None
    """One that is found in both, and finds something else in each."""
    files: list[str] = []
    """Shell patterns; each file of the change fits one of them, and there are some."""
    older: str | None = None
    """A version specifier (PEP 440) that the older of both versions meets."""
    newer: str | None = None
    """One that the newer of both versions meets."""
    level: Level
    reason: str
    source: str


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A change, and what it may do."""

    change: Change
    level: Level
    reason: str
    source: str
    rule: str
    """The rule's id; empty: none fitted."""
    step: Step | None = None


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A whole difference, judged."""

    difference: Difference
    judged: list[Judged]
    """Worst first, and in the order of the layers among equals."""
    verdict: str
    """One sentence."""

    @property
    def worst(self) -> Level | None:
        """None: nothing differs."""
        return next((one.level for one in self.judged if one.change.kind != "unknown"), None)

    def reaches(self, level: Level) -> bool:
        """Whether anything that differs, the machine below included, is as bad as *level*."""
        worst = self.worst
        return worst is not None and LEVELS.index(worst) <= LEVELS.index(level)

    @property
    def satisfied(self) -> bool:
        """Whether the environments differ by nothing but what is known to be harmless."""
        return not any(one.change.counts and one.level != "harmless" for one in self.judged)


class RulesError(ValueError):
    """A rule that cannot be read; the text names it."""


class _Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rule: list[Rule]


def parse(rows: object) -> list[Rule]:
    """Rules from plain data: a list of tables.

    :raises RulesError: an unknown key, a wrong type, a pattern or specifier that is none.
    """
    try:
        found = msgspec.convert(rows, list[Rule])
    except msgspec.ValidationError as error:
        raise RulesError(str(error)) from error
    for rule in found:
        _check(rule)
    return found


def _check(rule: Rule) -> None:
    try:
        _Matcher(rule)
    except (re.error, InvalidSpecifier, RecursionError, OverflowError) as error:
        raise RulesError(f"rule {rule.id!r}: {error}") from error


@functools.cache
def ours() -> tuple[Rule, ...]:
    """The rules that come with envfreeze: each variable and setting first, then the table."""
    text = (resources.files("envfreeze") / "data" / "rules.toml").read_text("utf-8")
    table = msgspec.convert(toml.load(text), _Rules)
    return (*_of_settings(), *table.rule)


_EFFECTS: dict[str, Level] = {"changes": "changes", "may-change": "may-change", "none": "harmless"}


def _of_settings() -> Iterator[Rule]:
    """``numerics.toml`` as rules."""
    for row in settings.table().variable:
        yield Rule(
            id=f"variable-{row.names[0]}",
            layers=["numerics", "environment"],
            names=[name for each in row.names for name in (f"variables.{each}", each)],
            level=_EFFECTS[row.effect],
            reason=row.about,
            source=row.source,
        )


def judge(difference: Difference, own: Sequence[Rule] = ()) -> Judgement:
    """Each change of *difference* with the first rule that fits it, worst first.

    :param own: the user's rules, which come before ours.
    """
    mine = tuple(map(_Matcher, own))
    by_layer = {layer: _Table([*mine, *_our_matchers()], layer) for layer in LAYERS}
    found = [_judged(change, by_layer[change.layer]) for change in difference.changes]
    ranked = sorted(found, key=lambda one: (LEVELS.index(one[0].level), one[1]))
    judged = [one for one, _ in ranked]
    return Judgement(difference=difference, judged=judged, verdict=_verdict(judged))


_LAST = 1 << 30
_Ranked = list[tuple[int, "_Matcher"]]
"""Matchers with their place in the table."""


class _Table:
    """The rules of a layer; those that name no such change are not even asked."""

    def __init__(self, matchers: Sequence[_Matcher], layer: Layer) -> None:
        self._open: _Ranked = []
        self._named: dict[str, _Ranked] = {}
        for row in enumerate(matchers):
            if layer in (row[1].rule.layers or LAYERS):
                if row[1].is_open:
                    self._open.append(row)
                for name in row[1].exact:
                    self._named.setdefault(name, []).append(row)

    def rows(self, name: str) -> _Ranked:
        """Those that may fit a change of this name, in their order."""
        named = self._named.get(name)
        if not named:
            return self._open
        return sorted({*self._open, *named}, key=lambda row: row[0])


@functools.cache
def _our_matchers() -> tuple[_Matcher, ...]:
    return tuple(map(_Matcher, ours()))


def _judged(change: Change, table: _Table) -> tuple[Judged, int]:
    """With the place of its rule, which is how much it explains."""
    if change.kind == "unknown":
        reason = "known on one side only, so that nothing can be said"
        blank = Judged(change=change, level="unknown", reason=reason, source="", rule="")
        return blank, _LAST + 1  # After what does differ.
    step = steps.step_of(change)
    name = _name(change)
    for place, matcher in table.rows(name):
        if matcher.fits(change, name, step):
            rule = matcher.rule
            found = Judged(
                change=change,
                level=rule.level,
                reason=rule.reason,
                source=rule.source,
                rule=rule.id,
                step=step,
            )
            return found, place
    reason = "no rule tells what it does to results"
    blank = Judged(change=change, level="unknown", reason=reason, source="", rule="", step=step)
    return blank, _LAST


def _name(change: Change) -> str:
    name = change.name.casefold()
    return name.rpartition(":")[0] or name if change.layer == "system" else name


_MAGIC = re.compile(r"[*?\[]")


class _Matcher:
    """A rule, ready to be held against thousands of changes."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        names = [name.casefold() for name in rule.names]
        self.exact = frozenset(name for name in names if not _MAGIC.search(name))
        """Names that it fits, as they are written."""
        self._globs = _globs(name for name in names if name not in self.exact)
        self.is_open = not names or self._globs is not None
        """It may fit other names, too."""
        self._files = _globs(rule.files)
        self._values = re.compile(rule.values, re.IGNORECASE) if rule.values else None
        self._differs = re.compile(rule.differs, re.IGNORECASE) if rule.differs else None
        self._older = _specifiers(rule.older)
        self._newer = _specifiers(rule.newer)

    def fits(self, change: Change, name: str, step: Step | None) -> bool:
        rule = self.rule
        if rule.names and name not in self.exact and not (self._globs and self._globs(name)):
            return False
        if rule.kinds and change.kind not in rule.kinds:
            return False
        if rule.steps and step not in rule.steps:
            return False
        return self._words(change) and self._named(change.files) and self._versions(change)

    def _words(self, change: Change) -> bool:
        words = [word[:2000] for word in (change.before, change.after) if word is not None]
        if self._values and not any(map(self._values.search, words)):
            return False
        if self._differs:
            found = [self._differs.search(word) for word in words]
            texts = {match[0].casefold() for match in found if match}
            return len(texts) == 2 and None not in found
        return True

    def _named(self, files: Sequence[str]) -> bool:
        return not self._files or (bool(files) and all(map(self._files, files)))

    def _versions(self, change: Change) -> bool:
        if self._older is None and self._newer is None:
            return True
        one, two = (steps.upstream(word or "") for word in (change.before, change.after))
        if one is None or two is None:
            return False
        low, high = min(one, two), max(one, two)
        return (self._older is None or self._older.contains(low, prereleases=True)) and (
            self._newer is None or self._newer.contains(high, prereleases=True)
        )


def _globs(patterns: Iterable[str]) -> Callable[[str], object] | None:
    """Whether a text fits one of *patterns*; None: there are none."""
    given = list(patterns)
    heads = tuple(one[:-1] for one in given if one[-1:] == "*" and not _MAGIC.search(one[:-1]))
    rest = [one for one in given if one[-1:] != "*" or _MAGIC.search(one[:-1])]
    others = re.compile("|".join(map(fnmatch.translate, rest))).match if rest else None
    if others is None:
        return (lambda text: text.startswith(heads)) if heads else None
    return lambda text: text.startswith(heads) or others(text)


def _specifiers(text: str | None) -> SpecifierSet | None:
    return None if text is None else SpecifierSet(text)


_BEGINS: dict[Level, str] = {
    "changes": "Changes results",
    "may-change": "May change results",
    "unknown": "Nothing known to change results, but no rule knows",
    "harmless": "Nothing that changes results",
}


def _verdict(judged: Sequence[Judged]) -> str:
    """One sentence: the worst change, why, and how many more there are."""
    judged = [one for one in judged if one.change.kind != "unknown"]
    if not judged:
        return "Nothing differs."
    first = judged[0]
    counts = {level: sum(one.level == level for one in judged) for level in LEVELS}
    if first.level == "harmless":
        return f"{_BEGINS['harmless']}: {plural(len(judged), 'difference')} that no result follows."
    what = _BEGINS[first.level]
    text = f"{what}: {told(first.change)}"
    if first.level != "unknown":
        text += f" ({first.reason})"
    more = [
        f"{count - (level == first.level)} more {_MORE[level]}"
        for level, count in counts.items()
        if level != "harmless" and count - (level == first.level) > 0
    ]
    return text + ("; " + ", ".join(more) if more else "") + "."


_MORE: dict[Level, str] = {
    "changes": "change results",
    "may-change": "may",
    "unknown": "are of unknown effect",
    "harmless": "",
}


def _called(change: Change) -> str:
    """What a sentence calls it, where its layer is not told beside it."""
    name = line(change.name)
    if change.layer == "interpreter":
        return "Python" if name == "version" else f"Python's {name}"
    if change.layer == "accelerator" and name.startswith("driver."):
        return "NVIDIA driver" if name == "driver.version" else f"NVIDIA driver's {name[7:]}"
    for head in ("variables.", "switches."):
        name = name.removeprefix(head)
    return name


def told(change: Change) -> str:
    """A change in a few words: ``numpy 1.26.4 -> 2.0.2``."""
    name = _called(change)
    before, after = (line(word or "") for word in (change.before, change.after))
    if change.kind == "added":
        return f"{name} {after} only on the right" if after else f"{name} only on the right"
    if change.kind == "removed":
        return f"{name} {before} only on the left" if before else f"{name} only on the left"
    if change.kind == "content":
        return f"{name}: other content"
    if change.kind == "unknown":
        return f"{name}, known on one side only"
    return f"{name} {before} -> {after}"
