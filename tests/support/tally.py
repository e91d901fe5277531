"""A table of what became of each environment, printed at the end of a test run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envfreeze.model.lock import Lock

PROPERTY = "envfreeze-environment"
"""The test's property that carries a row: pytest-xdist brings it from the worker."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One environment."""

    environment: str = ""
    python: str
    found: int
    proved: int
    packed: int
    patched: int
    source: int
    as_files: int
    unproved: int
    shadowed: int
    identical: int
    """Files that are the same after the rebuild."""
    files: int

    @classmethod
    def of(cls, lock: Lock, report: Mapping[str, Any], identical: int, files: int) -> Row:
        counts = report["counts"]
        return cls(
            python=lock.machine.interpreter.facts.version,
            found=report["found"],
            proved=counts.get("proved", 0),
            packed=counts.get("packed", 0),
            patched=counts.get("patched", 0),
            source=counts.get("source", 0),
            as_files=counts.get("kept as files", 0),
            unproved=counts.get("unproved", 0),
            shadowed=counts.get("shadowed", 0),
            identical=identical,
            files=files,
        )

    def called(self, environment: str) -> Row:
        return replace(self, environment=environment)


HEADS = tuple(field.name.replace("_", " ") for field in fields(Row))


def table(rows: Iterable[Iterable[Any]]) -> list[str]:
    """The rows under their heads, numbers to the right."""
    cells = [HEADS, *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADS))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def values(row: Row) -> list[Any]:
    return list(astuple(row))
