"""The machine below an environment as plain words, so that two of them can be compared.

What is volatile is left out: it differs between two looks at one machine, or names the very device
or place. So is who owns what, which a live side was not asked for; packages are compared elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from envfreeze.model.host import Host

_T = TypeVar("_T")

PARTS = ("platform", "accelerator", "numerics")
_VOLATILE = frozenset({"uuid", "bus", "power-limit", "loaded", "path", "root", "source", "owner"})
_NAMES = ("name", "kind", "version")
"""What tells the entries of a list apart, the first ones most."""


def words(host: Host | None) -> dict[str, dict[str, str]] | None:
    """``{part: {fact: word}}`` of the parts that were looked at; None: none was."""
    if host is None:
        return None
    plain = msgspec.to_builtins(host)
    return {part: dict(_flat("", plain[part])) for part in PARTS if part in plain} or None


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key in sorted(value):
            if key not in _VOLATILE:
                yield from _flat(f"{name}.{key}" if name else key, value[key])
    elif isinstance(value, list):
        yield from _listed(name, value)
    else:
        yield name, _word(value)


def _listed(name: str, values: list[Any]) -> Iterator[tuple[str, str]]:
    """A list of plain values is one fact; the entries of one of tables are each named."""
    if not all(isinstance(value, dict) for value in values):
        yield name, " ".join(map(_word, values))
        return
    yield from numbered((f"{name} {_title(value)}", _entry(value)) for value in values).items()


def numbered(named: Iterable[tuple[str, _T]]) -> dict[str, _T]:
    """By name; what has a name that was there before gets a number, wherever it lies."""
    found: dict[str, _T] = {}
    for name, value in named:
        key, number = name, 1
        while key in found:
            number += 1
            key = f"{name} ({number})"
        found[key] = value
    return found


def _entry(value: dict[str, Any]) -> str:
    """What is said of a table besides its title."""
    title = _title(value)
    rest = {key: v for key, v in value.items() if key not in _VOLATILE and v != title}
    return ", ".join(f"{key} {text}" for key, text in _flat("", rest)) or "there"


def _title(value: dict[str, Any]) -> str:
    return str(next((value[key] for key in _NAMES if key in value), "?"))


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
