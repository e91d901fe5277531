"""The verdict layer by layer: what was compared, how much of it, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from envfreeze.diff.compare import Change, Difference
from envfreeze.model import printed
from envfreeze.model.lines import line, utf8
from envfreeze.model.lock import Lock
from envfreeze.model.words import plural

Word = Literal["equal", "differs", "not compared"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    layer: str
    compared: str
    """What, with how much of it: ``11 distributions, 1893 files``."""
    count: int
    """The number that matters most of :attr:`compared`."""
    verdict: Word
    differences: int = 0


class Report(msgspec.Struct, kw_only=True):
    """What ``--report FILE`` writes: schema 1."""

    schema: int
    lock: str
    """The environment's id."""
    lock_sha256: str
    """Of the lock file."""
    target: str
    equal: bool
    layers: list[Verdict]
    changes: list[Change]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much was looked at: what a lock alone does not tell."""

    files: int
    """Of distributions."""
    own: int | None = None
    """Of the interpreter; None: they were not looked at."""
    unowned: int = 0
    """Files outside the environment that no package owns."""
    variables: int | None = None
    started: bool = False
    """Whether ``python`` was looked up on PATH, and run by the image's own user."""


def verdicts(
    lock: Lock, difference: Difference, counts: Counts, layers: Iterable[str]
) -> list[Verdict]:
    """A line for each of *layers* of which the lock has anything."""
    asked = set(layers)
    if any(c.layer == "interpreter" and c.kind == "unknown" for c in difference.changes):
        counts = msgspec.structs.replace(counts, own=None)  # Looked at, and not held against any.
    rows = [_row(name, what, difference) for name, what in _wording(lock, counts) if name in asked]
    patches = _patches(lock, difference)
    return [*rows[:2], *patches, *rows[2:]] if "packages" in asked else rows


def _wording(lock: Lock, counts: Counts) -> Iterable[tuple[str, tuple[str, int]]]:
    machine = lock.machine
    own = "" if counts.own is None else f", {plural(counts.own, 'file')}"
    yield "interpreter", (f"implementation, version, ABI, platform{own}", counts.own or 4)
    count = len(lock.packages)
    files = plural(counts.files, "file")
    yield "packages", (f"{plural(count, 'distribution')}, {files}", counts.files)
    if machine.shadowed:
        yield "shadowed", _counted(len(machine.shadowed), "shadowed distribution")
    loose = sum(len(site.files) for site in machine.loose)
    if loose:
        yield "files", (f"{plural(loose, 'file')} that no package owns", loose)
    trees = sum(source.digest is not None for source in machine.sources)
    if trees:
        yield "sources", _counted(trees, "source tree")
    if machine.conda is not None:
        count = sum(package.count for package in machine.conda.packages)
        names = plural(len(machine.conda.packages), "package")
        loose = len(machine.conda.loose.files) if machine.conda.loose else 0
        more = f", {plural(loose, 'file')} that none owns" if loose else ""
        yield "conda", (f"{names}, {plural(count, 'file')}{more}", count)
    needed = len(machine.system.packages)
    if needed:
        more = f", {plural(counts.unowned, 'file')} that none owns" if counts.unowned else ""
        yield "system", (f"versions of {plural(needed, 'system package')}{more}", needed)
    elif counts.unowned:
        yield "system", (f"{plural(counts.unowned, 'file')} of the system", counts.unowned)
    if counts.variables is not None:
        more = ", python on PATH, a start as its user" if counts.started else ""
        yield "environment", (f"{plural(counts.variables, 'variable')}{more}", counts.variables)


def _counted(count: int, word: str) -> tuple[str, int]:
    return plural(count, word), count


def _row(layer: str, what: tuple[str, int], difference: Difference) -> Verdict:
    compared, count = what
    mine = [change for change in difference.changes if change.layer == layer]
    differs = sum(change.counts for change in mine)
    unknown = any(change.kind == "unknown" for change in mine)
    if differs:
        word: Word = "differs"
    elif unknown and layer in {"system", "sources"}:
        word = "not compared"
    else:
        word = "equal"
    return Verdict(layer=layer, compared=compared, count=count, verdict=word, differences=differs)


def _patches(lock: Lock, difference: Difference) -> list[Verdict]:
    """What somebody had edited: those files are among the packages', and told apart here."""
    edited = {package.name: len(package.facts.edits) for package in lock.packages}
    count = sum(edited.values())
    if not count:
        return []
    wrong = {
        change.name
        for change in difference.changes
        if change.layer == "packages" and change.counts and edited.get(change.name)
    }
    return [
        Verdict(
            layer="patches",
            compared=plural(count, "edited file"),
            count=count,
            verdict="differs" if wrong else "equal",
            differences=len(wrong),
        )
    ]


def as_table(found: list[Verdict]) -> str:
    """The table, for a person."""
    if not found:
        return ""
    shown = [(one.layer, one.compared, _word(one)) for one in found]
    first, second = (max(len(row[column]) for row in shown) for column in (0, 1))
    return "".join(
        f"    {line(layer):<{first}}  {line(what):<{second}}  {word}\n"
        for layer, what, word in shown
    )


def _word(one: Verdict) -> str:
    return one.verdict if one.verdict != "differs" else f"DIFFERS ({one.differences})"


def as_report(lock: Lock, lock_sha256: str, difference: Difference, found: list[Verdict]) -> bytes:
    """The verdict as JSON."""
    report = Report(
        schema=1,
        lock=lock.machine.id,
        lock_sha256=lock_sha256,
        target=utf8(difference.after),
        equal=difference.equal,
        layers=found,
        changes=difference.changes,
    )
    return printed.as_json(report)


def with_changes(difference: Difference, more: Iterable[Change]) -> Difference:
    """*difference* and what else differs."""
    return msgspec.structs.replace(difference, changes=[*difference.changes, *more])
