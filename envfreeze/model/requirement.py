"""A line of Requires-Dist: whom it names, and whether it holds for an interpreter. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from envfreeze.model.identity import normalize
from envfreeze.model.snapshot import Interpreter

if TYPE_CHECKING:
    from packaging.markers import Marker

_NAME = re.compile(r"\s*([A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?)\s*(?:\[([^\]]*)\])?", re.I | re.A)
_EXTRA = re.compile(r"""extra\s*(?:==|in)\s*['"]([^'"]+)['"]""")
_LONGEST = 1000
"""Characters of a line that a lock keeps; nobody writes so many."""
_MARKS_ALL = ("uv", "conda")
"""Installers that write REQUESTED for everything that they install: from them it says nothing."""


def asked_for(requested: bool, installer: str | None) -> bool:
    """Whether a person asked for a distribution, as far as its installer says that."""
    return requested and not (installer or "").strip().startswith(_MARKS_ALL)


def kept(lines: Iterable[str], names: Collection[str], terms: Mapping[str, str]) -> list[str]:
    """Those *lines* of Requires-Dist that say something of an environment, in their order.

    What names another of its distributions, under an extra as well, where its marker can hold;
    and what holds without an extra and names none: that is missing.

    :param names: the distributions of the environment, normalised.
    :param terms: as :func:`marker_terms` gives them.
    """
    stable = tuple(sorted(terms.items()))
    found: dict[str, None] = {}
    for line in lines:
        text, _, condition = line.partition(";")
        match = _NAME.match(text)
        if match is None or len(line) > _LONGEST:
            continue
        there = normalize(match[1]) in names
        if condition and not _can_hold(condition.strip(), stable, there):
            continue
        found[" ".join(line.split())] = None
    return list(found)


@functools.lru_cache(maxsize=4096)
def _can_hold(condition: str, terms: tuple[tuple[str, str], ...], with_extras: bool) -> bool:
    from packaging.markers import InvalidMarker, Marker

    try:
        marker = Marker(condition)
    except InvalidMarker:
        return True
    extras = ["", *(_EXTRA.findall(condition) if with_extras else [])]
    return any(holds(marker, {**dict(terms), "extra": extra}) for extra in extras)


def extras_of(line: str) -> list[str]:
    """The extras that the marker of *line* asks about, normalised."""
    return sorted({normalize(extra) for extra in _EXTRA.findall(line.partition(";")[2])})


def parse(text: str) -> tuple[str | None, list[str], Marker | None]:
    """``(normalised name, extras, marker)``; None for a name that is none.

    As leniently as the metadata of old distributions needs it: their version specifiers are
    not looked at, and a marker that cannot be read is none, so the requirement counts.
    """
    from packaging.markers import InvalidMarker, Marker
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        match = _NAME.match(text)
        if match is None:
            return None, [], None
        extras = [normalize(e.strip()) for e in (match[2] or "").split(",") if e.strip()]
        marker = None
        if ";" in text:
            try:
                marker = Marker(text.rpartition(";")[2].strip())
            except InvalidMarker:
                marker = None
        return normalize(match[1]), extras, marker
    return (
        normalize(requirement.name),
        sorted(map(normalize, requirement.extras)),
        requirement.marker,
    )


def holds(marker: Marker | None, terms: Mapping[str, str]) -> bool:
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
    from packaging.version import InvalidVersion

    if marker is None:
        return not terms["extra"]  # Of the distribution itself, needed without the extra as well.
    try:
        return marker.evaluate(dict(terms))
    except (InvalidVersion, UndefinedComparison, UndefinedEnvironmentName):
        return True


def marker_terms(facts: Interpreter, kernel: str) -> dict[str, str]:
    """The environment markers (PEP 508) as the target's own interpreter would give them."""
    minor = ".".join(facts.version.split(".")[:2])
    names = {"cpython": "CPython", "pypy": "PyPy"}
    return {
        "implementation_name": facts.implementation,
        "implementation_version": facts.version,
        "os_name": "nt" if kernel == "Windows" else "posix",
        "platform_machine": facts.machine,
        "platform_python_implementation": names.get(facts.implementation, facts.implementation),
        "platform_release": "",
        "platform_system": kernel,
        "platform_version": "",
        "python_full_version": facts.version,
        "python_version": minor,
        "sys_platform": {"Windows": "win32"}.get(kernel, kernel.lower()),
    }
