"""The text of a comparison as a person sees it on a terminal, drawn by rich."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.text import Text

from envfreeze.diff.judge import LEVELS, WORDS, Level

_COLOURS: dict[Level, str] = {
    "changes": "bold red",
    "may-change": "yellow",
    "unknown": "cyan",
    "harmless": "green",
}
_HEADS = {f"  {WORDS[level]}:": _COLOURS[level] for level in LEVELS}
_BEGINS = re.compile(r"^ +([~+-]) (?=\S)")
_MARKS = {"~": "yellow", "+": "green", "-": "red"}
_NARROWEST = 20
_COUNTED = 1
"""The line that says how many differences there are, after the verdict."""
_GAP = re.compile(r"(?<=\S) {3,}")


def on_terminal(text: str, width: int, environ: Mapping[str, str]) -> str:
    """*text* of :mod:`envfreeze.diff.report` in *width* columns: lines are broken at words and
    stay below where they begin; in colours, unless ``NO_COLOR`` is set (no-color.org) or ``TERM``
    is ``dumb``."""
    plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
    console = Console(
        file=io.StringIO(),
        width=max(_NARROWEST, width),
        force_terminal=not plain,
        color_system=None if plain else "standard",
        legacy_windows=False,
        highlight=False,
        _environ={},
    )
    with console.capture() as captured:
        for place, line in enumerate(text.split("\n")):
            for part in _broken(line, console, is_head=place != _COUNTED):
                console.print(part, no_wrap=True, overflow="ignore", crop=False)
    return captured.get().removesuffix("\n")


def _broken(line: str, console: Console, *, is_head: bool) -> Iterator[Text]:
    """The lines that *line* takes. *is_head*: where it begins at the margin, it heads others."""
    if len(line) > console.width:
        line = _GAP.sub("  ", line)  # Columns are for those who have the room.
    styled = _styled(line, is_head=is_head)
    begins = _BEGINS.match(line)
    indent = begins.end() if begins else len(line) - len(line.lstrip(" "))
    room = console.width - indent
    if styled.cell_len <= console.width or room < _NARROWEST // 2:
        yield styled
        return
    head, rest = styled[:indent], styled[indent:]
    for place, part in enumerate(rest.wrap(console, room)):
        part.rstrip()
        yield (head if place == 0 else Text(" " * indent)) + part


def _styled(line: str, *, is_head: bool) -> Text:
    if line in _HEADS:
        return Text(line, _HEADS[line])
    styled = Text(line)
    if is_head and line[:1].strip():
        styled.stylize("bold")
    begins = _BEGINS.match(line)
    if begins:
        styled.stylize(_MARKS[begins[1]], *begins.span(1))
    return styled
