"""Progress bars on stderr, drawn by rich; only where a person looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress

from envfreeze.errors import printable
from envfreeze.progress import Advance, Progress

_DOING = 48
"""Letters of what a piece of work is at: a bar stays on its line."""
_WORDS = {
    "look": "looking at the environment",
    "prove": "proving packages",
    "pack": "packing the rest",
    "system": "finding what it needs of the system",
    "stage": "installing system packages",
    "bootstrap": "making a base from its packages",
    "interpreter": "packing the interpreter",
    "base": "asking for the base image",
    "fetch": "fetching",
    "place": "placing packages",
    "image": "building the image",
    "verify": "verifying",
}


class Bars(Progress):
    """One bar at a time; it disappears when its work is done."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._busy = False
        self._describe: Callable[[str], None] = lambda _text: None

    @contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Advance]:
        if self._busy:  # rich draws one live display at a time.
            yield lambda _count: None
            return
        word = _WORDS.get(label, label)
        columns: list[ProgressColumn] = [TextColumn("  {task.description}"), BarColumn(24)]
        if label == "fetch":
            columns.append(DownloadColumn())
        elif total is not None:
            columns.append(MofNCompleteColumn())
        bars = RichProgress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
        self._busy = True
        try:
            with bars:
                task = bars.add_task(word, total=total)
                self._describe = lambda text: bars.update(task, description=f"{word}: {text}")
                yield lambda count: bars.advance(task, count)
        finally:
            self._busy = False
            self._describe = lambda _text: None

    def doing(self, text: str) -> None:
        shown = printable(text).replace("\n", " ").replace("\t", " ")
        self._describe(escape(shown[:_DOING]))

    def note(self, text: str) -> None:
        self._console.print(printable(text), markup=False)
