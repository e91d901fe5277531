"""How far a version moved, as its own scheme counts. Pure.

Python's versions by PEP 440; Debian's as ``[epoch:]upstream[-revision]`` (Debian policy, chapter
5.6.12), which RPM and Alpine share in form; conda's as a version and a build string.
"""

from __future__ import annotations

import re
from typing import Literal

from packaging.version import InvalidVersion, Version

from envfreeze.data.tables import numbers
from envfreeze.diff.compare import Change

Step = Literal["epoch", "major", "minor", "patch", "pre", "post", "local", "build", "other"]
"""The first part of the version that differs (PEP 440). ``build``: a conda build string, or the
revision of a Debian version; ``other``: a version that follows no scheme we know."""

_RELEASE: tuple[Step, ...] = ("major", "minor")


def step_of(change: Change) -> Step | None:
    """How the version moved; None: nothing of *change* is two versions."""
    before, after = change.before, change.after
    if change.kind != "changed" or before is None or after is None or before == after:
        return None
    if change.layer in {"packages", "shadowed"}:
        return python_step(before, after)
    if change.layer == "conda":
        return _conda(before, after)
    if change.layer == "system":
        return debian_step(before, after)
    one, two = version_in(before), version_in(after)
    if one is None or two is None or _frame(before, one) != _frame(after, two):
        return "other"
    return python_step(one, two)


def version_in(text: str) -> str | None:
    """The version that a fact of a machine tells: of ``soname libcudart.so.13, version 13.0.96``
    the last; None: it tells none."""
    named = re.search(r"\bversion (\d[\w.+!-]*)", text)
    if named:
        return named[1]
    plain = re.search(r"(?:^|\s)(\d+(?:\.\d+)*[\w.+-]*)$", text)
    return plain[1] if plain else None


def _frame(text: str, version: str) -> str:
    """What is said around the version: where that differs, another thing is meant."""
    return text[: text.rindex(version)] if "version " not in text else ""


def python_step(before: str, after: str) -> Step:
    """The first part of two versions that differs, as PEP 440 reads them."""
    one, two = parsed(before), parsed(after)
    if one is None or two is None or one == two:
        return "other"
    if one.epoch != two.epoch:
        return "epoch"
    step = _release_step(one.release, two.release)
    if step is not None:
        return step
    if (one.pre, one.dev) != (two.pre, two.dev):
        return "pre"
    return "post" if one.post != two.post else "local"


def parsed(version: str) -> Version | None:
    """None: no version of PEP 440, or one so long that reading it is somebody's trick."""
    if len(version) > 200:
        return None
    try:
        return Version(version)
    except (InvalidVersion, ValueError):
        return None


def _release_step(one: tuple[int, ...], two: tuple[int, ...]) -> Step | None:
    length = max(len(one), len(two))
    pairs = zip(_padded(one, length), _padded(two, length), strict=True)
    place = next((place for place, (a, b) in enumerate(pairs) if a != b), None)
    if place is None:
        return None
    return _RELEASE[place] if place < len(_RELEASE) else "patch"


def _padded(release: tuple[int, ...], length: int) -> tuple[int, ...]:
    return release + (0,) * (length - len(release))


def debian_step(before: str, after: str) -> Step:
    """``epoch``, then the upstream version's own step, then ``build`` for the revision."""
    (epoch, one, _), (other, two, _) = _debian(before), _debian(after)
    if epoch != other:
        return "epoch"
    if one == two:
        return "build"
    step = _release_step(numbers(one), numbers(two))
    return step or "other"


def _debian(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "")


def upstream(text: str) -> Version | None:
    """The version that a specifier can be held against, of any layer's wording."""
    word = text.split(" ")[0] if " " in text and not version_in(text) else version_in(text) or text
    found = parsed(word)
    if found is not None:
        return found
    digits = ".".join(map(str, numbers(_debian(word)[1])))
    return parsed(digits) if digits else None


def _conda(before: str, after: str) -> Step:
    one, two = before.partition(" ")[0], after.partition(" ")[0]
    return "build" if one == two else python_step(one, two)
