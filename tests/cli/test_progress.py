"""Bars on standard error, for a person only."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from envfreeze.cli.progress import Bars


@pytest.fixture
def terminal() -> tuple[Bars, io.StringIO]:
    out = io.StringIO()
    bars = Bars()
    bars._console = Console(file=out, force_terminal=True, width=100, highlight=False)
    return bars, out


def words(out: io.StringIO) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())


@pytest.mark.parametrize(
    ("label", "total", "shown"),
    [
        ("prove", 3, "proving packages"),
        ("fetch", 2_000_000, "MB"),
        ("look", None, "looking at the environment"),
        ("something new", 1, "something new"),
    ],
)
def test_a_bar(
    terminal: tuple[Bars, io.StringIO], label: str, total: int | None, shown: str
) -> None:
    bars, out = terminal
    with bars.task(label, total) as advance:
        advance(total or 1)
    assert shown in words(out)


def test_a_task_within_a_task(terminal: tuple[Bars, io.StringIO]) -> None:
    bars, out = terminal
    with bars.task("verify", 1), bars.task("place", 1) as advance:
        advance(1)
    with bars.task("place", 1) as advance:
        advance(1)
    assert "verifying" in words(out)


def test_after_a_failure_there_are_bars_again(terminal: tuple[Bars, io.StringIO]) -> None:
    bars, out = terminal
    with pytest.raises(KeyboardInterrupt), bars.task("verify"):
        raise KeyboardInterrupt
    with bars.task("place", 1):
        pass
    assert "placing packages" in words(out)


def test_a_note_is_text(terminal: tuple[Bars, io.StringIO]) -> None:
    bars, out = terminal
    bars.note("[red]not markup[/red] \x1b[2J")
    assert out.getvalue() == "[red]not markup[/red] \\x1b[2J\n"


def test_what_a_piece_of_work_is_at(terminal: tuple[Bars, io.StringIO]) -> None:
    bars, out = terminal
    bars.doing("nobody works")
    with bars.task("stage"):
        bars.doing("Setting up [red]libc6:amd64[/red] (2.36-9) ... and much more than a line holds")
        bars.doing("Unpacking \x1b[2J")
    assert "nobody works" not in words(out)
    assert "installing system packages: Unpacking \\x1b[2J" in words(out)


def test_what_it_is_at_is_no_markup(terminal: tuple[Bars, io.StringIO]) -> None:
    bars, out = terminal
    with bars.task("stage"):
        bars.doing("[red]libc6[/red]")
    assert "[red]libc6[/red]" in words(out)
