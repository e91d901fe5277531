"""What each difference may do to results, by rules that are data. Pure.

The first rule that fits a change judges it; a user's own rules come before ours. What no rule
fits is unknown, which is an answer of its own: nobody said that it is harmless.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from envfreeze.diff.compare import Change, Difference, Kind, Layer
from envfreeze.diff.steps import Step

Level = Literal["changes", "may-change", "unknown", "harmless"]
"""Worst first: results change, they may, nobody knows, they do not."""

LEVELS: tuple[Level, ...] = get_args(Level)

WORDS: dict[Level, str] = {
    "changes": "changes results",
    "may-change": "may change results",
    "unknown": "unknown",
    "harmless": "does not change results",
}


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """One row of ``rules.toml``, or of a user's ``[[tool.envfreeze.rules]]``.

    Each condition that is given must hold; a list holds if any of its entries does.
    """

    id: str
    layers: list[Layer] = []
    names: list[str] = []
    """Shell patterns over the change's name, without regard to case."""
    kinds: list[Kind] = []
    steps: list[Step] = []
    """How the version moved; see :mod:`envfreeze.diff.steps`."""
    values: list[str] = []
    """Regular expressions, one of which is found in what was before or what is after."""
    before: str | None = None
    """A version specifier (PEP 440) that the older of both versions meets."""
    after: str | None = None
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
        return self.judged[0].level if self.judged else None
