"""A judged difference as Markdown, for a comment on a pull request. Pure.

Names, versions and paths are untrusted: they stand in code, where a forge reads neither markup
nor mentions nor links. What could end the code or its cell of the table is written as its escape.
"""

from __future__ import annotations

import re
import string
from collections import Counter

from envfreeze.diff.judge import LEVELS, WORDS, Judged, Judgement, Level
from envfreeze.diff.words import KIND_WORDS, LAYER_WORDS
from envfreeze.model.lines import line

SHOWN = 40
"""Changes of one level before the rest is counted."""
LIMIT = 60_000
"""Characters: GitHub takes 65,536, and who sends the comment may add to it."""
_LONGEST = 100
"""Characters of one name or version, and three times as much of a sentence."""

_REST = "(JSON and HTML list all)"
_HEAD = "| Layer | Name | Before | After | Why |\n|---|---|---|---|---|\n"


def as_markdown(judgement: Judgement, *, shown: int = SHOWN, limit: int = LIMIT) -> str:
    """The verdict, how many changes of which level there are, and the worst of them."""
    difference = judgement.difference
    text = (
        f"### {prose(judgement.verdict)}\n\n{code(difference.before)} → {code(difference.after)}\n"
    )
    if judgement.judged:
        text += _counts(judgement)
    for level in LEVELS:
        of_level = [one for one in judgement.judged if one.level == level]
        if of_level:
            text += _section(level, of_level, shown, limit - _length(text))
    return text


def _counts(judgement: Judgement) -> str:
    count = Counter(one.level for one in judgement.judged)
    rows = [f"| {WORDS[level]} | {count[level]} |\n" for level in LEVELS if count[level]]
    return "\n| What it does to results | Changes |\n|---|---:|\n" + "".join(rows)


def _section(level: Level, found: list[Judged], shown: int, room: int) -> str:
    """The changes of one level, as many as *room* has place for; nothing, where that is none."""
    title = WORDS[level][0].upper() + WORDS[level][1:]
    start, end = f"\n#### {title}\n\n{_HEAD}", ""
    if level == "harmless":
        start = f"\n<details>\n<summary>{title}: {len(found)}</summary>\n\n{_HEAD}"
        end = "\n</details>\n"
    room -= _length(start + _left_out(len(found)) + end)
    rows = _fitting(found[:shown], room)
    if not rows:
        return ""
    left = len(found) - len(rows)
    return start + "".join(rows) + (_left_out(left) if left else "") + end


def _fitting(found: list[Judged], room: int) -> list[str]:
    """The rows of the first of *found*, as many as *room* has place for."""
    rows: list[str] = []
    for row in map(_row, found):
        room -= _length(row)
        if room < 0:
            break
        rows.append(row)
    return rows


def _left_out(count: int) -> str:
    return f"\n… and {count} more {_REST}\n"


def _row(one: Judged) -> str:
    change = one.change
    before, after = (code(side) if side else "" for side in (change.before, change.after))
    if change.kind not in {"added", "removed", "changed"}:  # Versions do not tell what differs.
        after = f"{after} {KIND_WORDS[change.kind]}".strip()
    why = prose(one.reason) + (f" {prose(change.note)}" if change.note else "")
    layer = LAYER_WORDS[change.layer]
    return f"| {layer} | {code(change.name)} | {before} | {after} | {why} |\n"


def _length(text: str) -> int:
    """As the strictest of those count who keep it: in units of UTF-16."""
    return len(text.encode("utf-16-le")) // 2


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def code(text: str) -> str:
    """*text* as code, in a cell of a table or out of it."""
    plain = _cut(line(text), _LONGEST).replace("`", "\\x60").replace("|", "\\x7c")
    return f"`{plain}`" if plain.strip() else "`(empty)`" if not plain else f"`'{plain}'`"


_PUNCTUATION = re.compile(f"[{re.escape(string.punctuation)}]")
_JOINER = "\u2060"
"""Nothing to see, and the end of a word: what a forge would link is none with it inside."""
_LINKED = re.compile(
    r"(?<=[@#])(?=\w)"  # somebody, an issue
    r"|(?<=\bGH-)(?=\d)"
    r"|(?<=:)(?=[\w+-])",  # an emoji
    re.IGNORECASE,
)
_COMMIT = re.compile(r"\b[0-9a-f]{7,}\b", re.IGNORECASE)


def prose(text: str) -> str:
    """*text* as plain words: no markup, mention, reference, emoji, formula or link."""
    plain = _LINKED.sub(_JOINER, _cut(line(text), 3 * _LONGEST))
    return _PUNCTUATION.sub(_escaped, _COMMIT.sub(_broken, plain))


def _broken(match: re.Match[str]) -> str:
    """Too short, piece by piece, to be taken for a commit."""
    digits = match[0]
    return _JOINER.join(digits[at : at + 6] for at in range(0, len(digits), 6))


def _escaped(match: re.Match[str]) -> str:
    """As an escape; a dollar as GitHub asks for it, whose formulas do not know escapes."""
    return "<span>$</span>" if match[0] == "$" else f"\\{match[0]}"
