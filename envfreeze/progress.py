"""How long work tells about itself. The core calls; the command line draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Called with how many more units are done."""


class Progress:
    """Says nothing; the command line's own subclass draws bars on stderr."""

    @contextmanager
    def task(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """A piece of work of *total* units (unknown: None)."""
        del label, total
        yield lambda _count: None

    def doing(self, text: str) -> None:
        """What the piece of work is at; the next such line takes its place."""
        del text

    def note(self, text: str) -> None:
        """One line that a person should see now."""
        del text
