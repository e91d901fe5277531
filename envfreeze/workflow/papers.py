"""A side that is a document of another tool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from envfreeze.diff import foreign, view
from envfreeze.errors import LockError
from envfreeze.workflow.viewing import Side

_MOST = 64 * 1024 * 1024
"""Bytes of a document of another tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A document of another tool. What it says depends on where the other side runs."""

    kind: foreign.Kind
    text: str
    title: str

    def side(self, other: view.View | None) -> Side:
        """As a side that is held against *other*; None: that is not known yet."""
        from envfreeze.diff.foreign.place import place_of
        from envfreeze.diff.foreign.sides import view_of

        place = place_of(other) if other is not None else None
        document = foreign.read(self.kind, self.text, self.title, place)
        return Side(view=view_of(document, self.title, other), files=lambda _tree: None)


def paper_at(path: Path, title: str) -> Paper | None:
    """The document of another tool at *path*; None: it is none that is known here.

    :raises LockError: it is surely no lock either.
    """
    try:
        if path.stat().st_size > _MOST:
            return None
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None  # As a lock it is told what is wrong with it.
    kind = foreign.recognized(path.name, text)
    if kind is not None:
        return Paper(kind=kind, text=text, title=title)
    if path.suffix in foreign.SUFFIXES - {".lock", ".toml"}:
        raise LockError(
            f"{title} is neither a lock nor another document that envfreeze knows",
            hint=f"Besides its own locks it reads: {', '.join(foreign.KINDS)}.",
        )
    return None
