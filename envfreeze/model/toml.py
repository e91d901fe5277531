"""TOML as a lock is read by people and by ``git diff``: one block a package, artifacts on one line.

The writers at hand either spread each artifact over three tables or lose the order; this one
writes exactly what :func:`envfreeze.model.lock.dumps` needs. Source: TOML 1.0.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# The same parser as the standard library's, compiled: a big lock is read three times as fast.
import tomli

_MOST_PARTS = 32
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_SPECIAL = re.compile(
    r'["\\\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]'
)


_PART = r"""(?:[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')"""
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""'
    r"|'''.*?'''"
    rf"|(?P<long>{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{_MOST_PARTS}}})"
    rf"|{_PART}|#[^\n]*",
    re.DOTALL,
)


def load(text: str) -> dict[str, Any]:
    """The document *text* as plain values.

    :mod:`tomli` needs the square of a dotted key's parts, in time and memory: 18 KB of them
    took 300 MB. Ours have four.

    :raises ValueError: not TOML, a number of thousands of digits, a key of too many parts.
    :raises RecursionError: it is nested without end.
    """
    if any(line.count(".") >= _MOST_PARTS for line in text.splitlines()):
        for token in _TOKEN.finditer(text):
            if token["long"]:
                raise ValueError(f"a key of more than {_MOST_PARTS} parts")
    return tomli.loads(text)


def dump(
    document: Mapping[str, Any], inline: frozenset[str], lines: frozenset[str] = frozenset()
) -> str:
    """*document* as TOML.

    :param inline: keys whose table, or array of tables, is written on one line (each).
    :param lines: keys whose array of texts has a line for each.
    """
    return "\n".join(_table(document, (), (inline, lines))).lstrip("\n") + "\n"


def _table(
    table: Mapping[str, Any], path: tuple[str, ...], style: tuple[frozenset[str], frozenset[str]]
) -> Iterator[str]:
    """Plain keys first, then the tables below: TOML has no way back up."""
    inline, lines = style
    below = []
    for key, value in table.items():
        if key not in inline and _is_table(value):
            below.append((key, value))
        else:
            spread = _is_tables(value) or (key in lines and value)
            yield f"{_key(key)} = {_array(value) if spread else _value(value)}"
    for key, value in below:
        here = (*path, key)
        name = ".".join(map(_key, here))
        if isinstance(value, Mapping):
            if any(not _is_table(v) or k in inline for k, v in value.items()) or not value:
                yield from ("", f"[{name}]")
            yield from _table(value, here, style)
        else:
            for entry in value:
                yield from ("", f"[[{name}]]")
                yield from _table(entry, here, style)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or _is_tables(value)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _array(values: list[Any]) -> str:
    """An array of inline tables or texts, one a line."""
    return "[\n" + "".join(f"  {_value(value)},\n" for value in values) + "]"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    raise TypeError(f"{type(value).__name__} has no place in a lock")


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else quote(key)


def quote(text: str) -> str:
    """A TOML basic string; what could hide or break a line is escaped."""
    return '"' + _SPECIAL.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return _ESCAPES.get(char) or f"\\u{ord(char):04x}"
