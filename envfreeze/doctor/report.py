"""Checks as text for a person, or as JSON for a program. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec

from envfreeze.doctor.facts import VERDICTS, Check
from envfreeze.model import printed
from envfreeze.model.lines import line, utf8


class JsonReport(msgspec.Struct, kw_only=True):
    """What ``envfreeze doctor --json`` prints: schema 1."""

    schema: int
    subject: str
    runs: bool
    """No problem was found."""
    checks: list[Check]


def runs(checks: list[Check]) -> bool:
    return all(check.verdict != "problem" for check in checks)


def as_json(checks: list[Check], subject: str) -> bytes:
    safe = [_safe(check) for check in checks]
    report = JsonReport(schema=1, subject=utf8(subject), runs=runs(checks), checks=safe)
    return printed.as_json(report)


def _safe(check: Check) -> Check:
    fields = {name: utf8(str(getattr(check, name))) for name in check.__struct_fields__}
    return msgspec.convert(fields, Check)


def as_text(checks: list[Check], subject: str) -> str:
    """A line for each check, worst first; below, why and what to do about the bad ones."""
    width = max((len(check.name) for check in checks), default=0)
    lines = [f"  {c.verdict:<7}  {c.name:<{width}}  {line(c.said)}" for c in checks]
    told = [check for check in checks if check.verdict in {"problem", "warning"}]
    names = Counter(check.name for check in told)
    for check in told:
        lines += _below(check, twice=names[check.name] > 1)
    if told:
        lines.append("")
    return "\n".join([*lines, _verdict(checks, subject)]) + "\n"


def _below(check: Check, *, twice: bool) -> list[str]:
    rows = [("fix", check.fix), ("why", check.reason), ("source", check.source)]
    kept = [f"  {word:<6}  {line(text)}" for word, text in rows if text]
    title = f"{check.name}: {line(check.said)}" if twice else check.name
    return ["", title, *kept] if kept else []


def _verdict(checks: list[Check], subject: str) -> str:
    counts = Counter(check.verdict for check in checks)
    words = [_count(counts[v], v) for v in VERDICTS[:3] if counts[v]]
    state = "will run here" if runs(checks) else "will not run here as it is"
    if runs(checks) and counts["unknown"]:
        state = "nothing speaks against running it here"
    return f"{line(subject)}: {state}" + (f" ({', '.join(words)})" if words else "")


def _count(count: int, verdict: str) -> str:
    if verdict == "unknown":
        return f"{count} unknown"
    return f"{count} {verdict}" + ("s" if count > 1 else "")
