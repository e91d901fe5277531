"""Where the other side runs, as far as markers and conda's platforms ask. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from envfreeze.diff.view import View

_SUBDIRS = {
    "linux-x86_64": "linux-64",
    "linux-aarch64": "linux-aarch64",
    "linux-ppc64le": "linux-ppc64le",
    "linux-s390x": "linux-s390x",
    "linux-i686": "linux-32",
}
_NAMES = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalVM"}
_VERSION = re.compile(r"(\d+\.\d+)\.\d+\S*")
_NOT_KNOWN = re.compile(
    r"\b(platform_release|platform_version|implementation_version|os\.|sys\.|platform\.)"
)
_NEGATED = re.compile(r"!=|\bnot\s+in\b|\bextra\b.*\bextra\b", re.DOTALL)
"""With extras or groups: neither all of them nor none is then the last word."""
_ASKED = re.compile(r"\b(extras?|dependency_groups)\b")
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_LONGEST = 2000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """An interpreter on a platform."""

    environment: Mapping[str, str]
    """The variables of markers that are known."""
    subdir: str | None
    """Conda's word for the platform; None: it has none that we know."""


def place_of(view: View) -> Place | None:
    """None: the side does not tell, or its platform is not one that we can put into markers."""
    facts = view.interpreter
    version, platform = facts.get("version", ""), facts.get("platform", "")
    implementation = facts.get("implementation", "")
    short = _VERSION.fullmatch(version)
    system, _, machine = platform.partition("-")
    if not short or system != "linux" or not machine or implementation not in _NAMES:
        return None
    environment = {
        "implementation_name": implementation,
        "implementation_version": "",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": _NAMES[implementation],
        "platform_system": "Linux",
        "platform_release": "",
        "platform_version": "",
        "python_full_version": version,
        "python_version": short[1],
        "sys_platform": "linux",
    }
    return Place(environment=environment, subdir=_SUBDIRS.get(platform))


def holds(marker: str | None, place: Place | None) -> bool | None:
    """Whether *marker* is true at *place*; None: nobody can tell. No marker is true everywhere."""
    if not marker:
        return True
    return None if place is None else _holds(marker, place)


@functools.lru_cache(maxsize=4096)
def _holds(marker: str, place: Place) -> bool | None:
    """Whether *marker* is true there; None: that depends on what is not known."""
    if len(marker) > _LONGEST or _NOT_KNOWN.search(marker):
        return None
    if not _ASKED.search(marker):
        return _evaluate(marker, place.environment, frozenset(), "")
    if _NEGATED.search(marker):
        return None
    named = frozenset(one or two for one, two in _QUOTED.findall(marker))
    answers = {_evaluate(marker, place.environment, frozenset(), "")}
    answers |= {_evaluate(marker, place.environment, named, extra) for extra in named}
    return answers.pop() if len(answers) == 1 else None


def _evaluate(
    marker: str, environment: Mapping[str, str], asked: frozenset[str], extra: str
) -> bool | None:
    """With the extras and groups that are *asked* for, and *extra* as the one of old markers."""
    from packaging.markers import (
        InvalidMarker,
        Marker,
        UndefinedComparison,
        UndefinedEnvironmentName,
    )

    known: dict[str, str | AbstractSet[str]] = {**environment, "extra": extra}
    known |= {"extras": asked, "dependency_groups": asked}
    try:
        return Marker(marker).evaluate(known, context="lock_file")
    except (
        InvalidMarker,
        UndefinedComparison,
        UndefinedEnvironmentName,
        RecursionError,
        TypeError,
        ValueError,
        KeyError,
    ):
        return None  # Of another tool's own kind: as good as one that asks what is not known.
