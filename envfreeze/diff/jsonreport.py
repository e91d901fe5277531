"""A judged difference as JSON for a program, and the schema of it. Pure.

The schema is published as ``docs/schema/diff-1.json``; what is added to it is optional for a
reader, and what is taken away or means something else gives it another number.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from envfreeze.diff.compare import Change
from envfreeze.diff.deep import FileDifference
from envfreeze.diff.judge import Judged, Judgement, Level
from envfreeze.diff.steps import Step
from envfreeze.model import printed
from envfreeze.model.lines import utf8


class JudgedChange(Change, frozen=True, kw_only=True, omit_defaults=True):
    """One difference, and what it may do to results."""

    level: Level
    reason: str
    """Why it is judged so, in a sentence."""
    source: str
    """Where that is known from."""
    rule: str
    """The rule's id; empty: no rule fitted."""
    step: Step | None = None
    """How the version moved; absent: no version, or it did not."""


class JudgedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ``envfreeze diff`` prints for programs: schema 1."""

    schema: Literal[1]
    equal: bool
    """Whether the environments are; the machines below them may differ all the same."""
    before: str
    after: str
    verdict: str
    """One sentence."""
    worst: Level | None
    """The worst level of :attr:`changes`; null: there are none."""
    changes: list[JudgedChange]
    """Worst first."""
    files: list[FileDifference] | msgspec.UnsetType = msgspec.UNSET
    """Of ``--files``: each file that differs; absent: they were not looked at."""


def report(judgement: Judgement, files: list[FileDifference] | None = None) -> JudgedReport:
    """*judgement* as it is printed."""
    difference = judgement.difference
    return JudgedReport(
        schema=1,
        equal=difference.equal,
        before=utf8(difference.before),
        after=utf8(difference.after),
        verdict=utf8(judgement.verdict),
        worst=judgement.worst,
        changes=[_flat(one) for one in judgement.judged],
        files=msgspec.UNSET if files is None else files,
    )


def _flat(one: Judged) -> JudgedChange:
    change: dict[str, Any] = msgspec.structs.asdict(one.change)
    judgement: dict[str, Any] = msgspec.structs.asdict(one)
    del judgement["change"]
    return JudgedChange(**change, **judgement)


def as_json(judgement: Judgement, files: list[FileDifference] | None = None) -> bytes:
    return printed.as_json(report(judgement, files))


def schema() -> bytes:
    """The JSON Schema (2020-12) of :func:`as_json`'s answer."""
    found = msgspec.json.schema(JudgedReport)
    return printed.as_json({"$schema": "https://json-schema.org/draft/2020-12/schema", **found})
