"""Judgements made by hand: what a report looks like does not hang on the rules."""

from __future__ import annotations

from envfreeze.diff.compare import BELOW, Change, Difference
from envfreeze.diff.judge import LEVELS, Judged, Judgement, Level


def judged(difference: Difference, verdict: str = "") -> Judgement:
    """*difference*, each change with a level by what it is, worst first."""
    found = sorted(map(_one, difference.changes), key=lambda one: LEVELS.index(one.level))
    count = sum(one.level == "changes" for one in found)
    said = verdict or f"{count} of {len(found)} changes change results."
    return Judgement(difference=difference, judged=found, verdict=said)


def _one(change: Change) -> Judged:
    level = _level(change)
    return Judged(
        change=change,
        level=level,
        reason=f"A change of {change.layer} that is {change.kind}.",
        source="https://docs.example/" + change.layer,
        rule="" if level == "unknown" else f"{change.layer}-{change.kind}",
        step="minor" if change.kind == "changed" else None,
    )


def _level(change: Change) -> Level:
    if change.kind == "unknown" or change.layer == "system":
        return "unknown"
    if change.kind == "proof" or change.layer == "files":
        return "harmless"
    if change.layer in BELOW or change.kind == "changed":
        return "changes"
    return "may-change"


def change(**given: object) -> Change:
    """A change of a package, with what is *given* instead."""
    facts = {"layer": "packages", "kind": "changed", "name": "numpy", "before": "1", "after": "2"}
    return Change(**{**facts, **given})  # type: ignore[arg-type]


def many(count: int) -> Difference:
    """*count* changes over several layers and kinds."""
    layers = ("packages", "system", "files", "numerics", "conda")
    kinds = ("changed", "added", "removed", "content", "unknown", "proof")
    changes = [
        change(layer=layers[n % 5], kind=kinds[n % 6], name=f"name-{n}", before=f"1.{n}", after="2")
        for n in range(count)
    ]
    return Difference(before="a.lock", after="b.lock", changes=changes)
