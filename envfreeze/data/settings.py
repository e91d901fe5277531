"""What changes numbers beside versions: ``numerics.toml``, typed."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Literal

import msgspec

from envfreeze.model import toml


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the table."""

    names: list[str]
    about: str
    effect: Literal["changes", "may-change", "none"]
    reproducible: list[str] = msgspec.field(default_factory=list)
    """Values with which results repeat."""
    advice: str = ""
    source: str


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``data/numerics.toml``."""

    variable: list[Row]
    switch: list[Row]


@functools.cache
def table() -> Table:
    """The table that comes with envfreeze."""
    text = (resources.files("envfreeze") / "data" / "numerics.toml").read_text("utf-8")
    return msgspec.convert(toml.load(text), type=Table)


@functools.cache
def rows() -> dict[str, Row]:
    """Each name's row."""
    return {name: row for row in [*table().variable, *table().switch] for name in row.names}
