"""What a program says while it runs: a line at a time for a person, the last ones for an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from envfreeze.errors import printable

OnLine = Callable[[str], None]

_LAST = 8
_LIMIT = 64 << 10
"""Bytes of one line; a longer one is cut into several."""


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream, as they can be shown. The last one needs no end."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from map(_shown, whole)
        if len(rest) > _LIMIT:
            yield _shown(rest)
            rest = b""
    if rest:
        yield _shown(rest)


def _shown(line: bytes) -> str:
    return printable(line.decode("utf-8", "replace").rstrip())


class Last:
    """The last lines of what was said; each is passed on as it comes."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._lines: list[str] = []

    def hear(self, stream: Iterable[bytes]) -> None:
        for line in lines(stream):
            self._lines = [*self._lines[-(_LAST - 1) :], line]
            self._on_line(line)

    @property
    def text(self) -> str:
        """For the end of an error's message."""
        return "".join(f"\n  {line}" for line in self._lines)
