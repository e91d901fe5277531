"""What the numerics of a machine mean, by ``data/numerics.toml``.

The table names a source for each row. What it does not know is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from envfreeze.data.settings import Row, rows, table
from envfreeze.model.host import Numerics

Effect = Literal["changes", "may-change", "none", "unknown"]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """One variable or setting, and what it does to results."""

    name: str
    value: str
    meaning: str
    effect: Effect
    advice: str
    """What to do for results that repeat; empty: nothing more."""
    source: str


def explain(numerics: Numerics) -> list[Explained]:
    """Each variable and setting of *numerics* with its row: what changes results comes first."""
    order = ("changes", "may-change", "unknown", "none")
    found = [_explained(name, value) for name, value in _settings(numerics)]
    return sorted(found, key=lambda item: (order.index(item.effect), item.name))


def _settings(numerics: Numerics) -> Iterator[tuple[str, str]]:
    yield from numerics.variables.items()
    yield from numerics.switches.items()
    if numerics.hash_randomization is not None:
        yield "hash-randomization", "yes" if numerics.hash_randomization else "no"


def _explained(name: str, value: str) -> Explained:
    row = rows().get(name)
    if row is None:
        return Explained(name=name, value=value, meaning="", effect="unknown", advice="", source="")
    return Explained(
        name=name,
        value=value,
        meaning=row.about,
        effect=row.effect,
        advice=_advice(row, name, value),
        source=row.source,
    )


def _advice(row: Row, name: str, value: str) -> str:
    if value in row.reproducible:
        return ""
    # A setting of a file is not changed by a variable of its name.
    wanted = ""
    if row.reproducible and row in table().variable:
        wanted = f"for results that repeat: {name}={row.reproducible[0]}"
    return "; ".join(filter(None, [wanted, row.advice]))
