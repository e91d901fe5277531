"""What the numerics of a machine mean, by ``data/numerics.toml``, and whose its libraries are.

The table names a source for each row. What it does not know is said to be unknown.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from typing import Literal

import msgspec

from envfreeze.model import toml
from envfreeze.model.host import Blas, Host, Mapped, Numerics
from envfreeze.model.identity import normalize
from envfreeze.model.snapshot import Snapshot

Effect = Literal["changes", "may-change", "none", "unknown"]


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


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """One variable or setting, and what it does to results."""

    name: str
    value: str
    meaning: str
    effect: Effect
    advice: str
    """What to do for results that repeat; empty: nothing more."""
    source: str


@functools.cache
def table() -> Table:
    """The table that comes with envfreeze."""
    text = (resources.files("envfreeze") / "data" / "numerics.toml").read_text("utf-8")
    return msgspec.convert(toml.load(text), type=Table)


@functools.cache
def _rows() -> dict[str, Row]:
    return {name: row for row in [*table().variable, *table().switch] for name in row.names}


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
    row = _rows().get(name)
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


# --- whose libraries -------------------------------------------------------------------------

_OWN_NAME = {"mkl": "mkl", "libiomp5": "intel-openmp"}
"""Libraries that do not tell their version, and the distribution that is nothing but them."""


def wheel_owners(snapshot: Snapshot, paths: Iterable[str]) -> dict[str, tuple[str, str]]:
    """``{path: (name, version)}`` of the distributions that brought these files, by RECORD."""
    wanted = set(paths)
    prefixes = {site.path: site.prefix for site in snapshot.sites}
    found: dict[str, tuple[str, str]] = {}
    for dist in snapshot.dists:
        prefix = prefixes.get(dist.site)
        places = {"site": dist.site, "data": prefix, "scripts": prefix and f"{prefix}/bin"}
        for row in dist.rows or ():
            if ".so" in row.path and (place := places.get(row.scheme)):
                path = f"{place}/{row.path}"
                if path in wanted:
                    found.setdefault(path, (normalize(dist.name), dist.version))
    return found


def owned(
    host: Host,
    snapshot: Snapshot,
    system: Callable[[str], str | None] = lambda _path: None,
) -> Host:
    """*host* with the owners of its BLAS and OpenMP libraries, and of what a process has mapped.

    :param system: tells the system package that owns a path, ``dpkg libgomp1``; None: nobody.
    """
    numerics, process = host.numerics, host.process
    libraries = numerics.libraries if numerics else []
    mapped = process.libraries if process else []
    paths = [item.path for item in libraries] + [item.path for item in mapped]
    known = wheel_owners(snapshot, paths)
    if numerics is not None:
        owners = [_blas_owner(item, known, system) for item in libraries]
        numerics = msgspec.structs.replace(numerics, libraries=owners)
    if process is not None:
        with_owner = [_mapped_owner(item, known, system) for item in mapped]
        process = msgspec.structs.replace(process, libraries=with_owner)
    return msgspec.structs.replace(host, numerics=numerics, process=process)


_Known = Mapping[str, tuple[str, str]]
_System = Callable[[str], str | None]


def _blas_owner(item: Blas, known: _Known, system: _System) -> Blas:
    if item.path not in known:
        return msgspec.structs.replace(item, owner=item.owner or system(item.path))
    name, version = known[item.path]
    told = version if _OWN_NAME.get(item.name) == name else None
    return msgspec.structs.replace(item, owner=f"wheel {name}", version=item.version or told)


def _mapped_owner(item: Mapped, known: _Known, system: _System) -> Mapped:
    if item.path in known:
        return msgspec.structs.replace(item, owner=f"wheel {known[item.path][0]}")
    return msgspec.structs.replace(item, owner=item.owner or system(item.path))
