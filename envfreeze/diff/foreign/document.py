"""What the readers of foreign documents have in common: entries, and errors that name the place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec

from envfreeze.diff.view import Reach
from envfreeze.errors import LockError
from envfreeze.model import toml

_Shape = TypeVar("_Shape")

EntryLayer = Literal["packages", "conda", "system"]

SEEDS = frozenset({"pip", "setuptools", "wheel"})
"""What an installer puts into each new environment; locks of projects leave it out."""


ANY = "any version"
"""What is wanted of a package that a document names without a version."""


class Table(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """A table of a foreign document: what is not read of it may be anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One package that a document names."""

    layer: EntryLayer
    name: str
    version: str = ""
    """Exactly; empty: not told, or told by :attr:`wanted`."""
    wanted: str | None = None
    """The versions that it may be, as the document writes them; None: :attr:`version` it is."""
    doubt: str = ""
    """Why it may not be there at all, in a few words; empty: it is."""
    listed: frozenset[str] = frozenset()
    """sha256 of each file that it may come as, where all are listed."""
    origin: str | None = None
    """Of a conda package: its channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a foreign document says."""

    entries: list[Entry]
    reach: Mapping[str, Reach]
    """Of the layers that it tells of; the others it does not know."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Lines that name packages which cannot be told from it, and why."""
    names_projects: bool = True
    """Whether the project itself, installed from its directory, would be in it."""


def wrong(source: str, kind: str, cause: object) -> LockError:
    """*source* is not what it looks like."""
    return LockError(
        f"{source} cannot be read as {kind}: {cause}",
        hint="Was it cut short or edited? Make it again, or restore it from version control.",
    )


def shaped(value: object, shape: type[_Shape], source: str, kind: str) -> _Shape:
    """*value* as a *shape*.

    :raises LockError: it is not; the place in the document is named.
    """
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise wrong(source, kind, error) from error


def from_toml(text: str, shape: type[_Shape], source: str, kind: str) -> _Shape:
    """TOML as a *shape*.

    :raises LockError: it is not TOML, or not of that shape.
    """
    try:
        document: dict[str, Any] = toml.load(text)
    except (ValueError, RecursionError) as error:
        raise wrong(source, kind, f"it is not TOML: {error}") from error
    return shaped(document, shape, source, kind)


def sha256s(hashes: list[str]) -> frozenset[str]:
    """The digests of ``sha256:HEX``; none at all where one file has no such hash."""
    digests = [text.removeprefix("sha256:").lower() for text in hashes]
    whole = all(text.startswith("sha256:") for text in hashes)
    return frozenset(digests) if whole else frozenset()
