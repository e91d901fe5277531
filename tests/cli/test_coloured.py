"""A comparison on a terminal: colours for those who want them, and no line too long."""

from __future__ import annotations

import re

import pytest

from envfreeze.cli.coloured import on_terminal
from envfreeze.diff.compare import Change, Difference
from envfreeze.diff.judge import judge
from envfreeze.diff.report import as_text

CHANGES = [
    Change(layer="packages", kind="changed", name="pip", before="24.0", after="25.0"),
    Change(layer="packages", kind="changed", name="numpy", before="1.26.4", after="2.2.6"),
    Change(layer="packages", kind="added", name="a-distribution-with-a-long-name", after="1.0"),
    Change(layer="packages", kind="content", name="edited", note=" ".join(["word"] * 40)),
    Change(layer="numerics", kind="added", name="variables.OMP_NUM_THREADS", after="1"),
]
TEXT = as_text(judge(Difference(before="a.lock", after="b.lock", changes=CHANGES)))
COLOURED = {"TERM": "xterm"}


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def words(text: str) -> list[str]:
    return bare(text).split()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_too_long_and_no_word_is_lost(width: int) -> None:
    shown = on_terminal(TEXT, width, COLOURED)
    assert "".join(words(shown)) == "".join(words(TEXT))
    assert all(len(line) <= width for line in bare(shown).split("\n"))
    assert shown.endswith("\n") and not shown.endswith("\n\n")


def test_what_fits_is_as_it_is() -> None:
    assert bare(on_terminal(TEXT, 400, COLOURED)) == TEXT


def test_a_broken_line_goes_on_below_where_it_begins() -> None:
    lines = bare(on_terminal(TEXT, 40, COLOURED)).split("\n")
    place = next(n for n, line in enumerate(lines) if "edited" in line)
    begins = lines[place].index("edited")
    assert lines[place + 1][:begins].isspace() and lines[place + 1][begins].strip()


def test_levels_and_marks_have_colours() -> None:
    shown = on_terminal(TEXT, 80, COLOURED)
    assert "\x1b[1;31m  changes results:" in shown
    assert "\x1b[33m  may change results:" in shown
    assert "\x1b[32m+\x1b[0m" in shown and "\x1b[33m~\x1b[0m" in shown


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours(environ: dict[str, str]) -> None:
    shown = on_terminal(TEXT, 40, environ)
    assert "\x1b" not in shown
    assert "".join(shown.split()) == "".join(TEXT.split())


def test_untrusted_text_is_no_markup() -> None:
    hostile = "[bold red]x[/] [link=https://index.example]y[/link] :smile:\n  a [/b]\n"
    assert bare(on_terminal(hostile, 200, COLOURED)) == hostile
