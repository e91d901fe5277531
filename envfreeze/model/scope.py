"""Which of a lock's system packages a build installs. Pure.

What the environment needs is always among them. The rest is only there where the capture kept it:
a package that the lock names without a file is refused by name, never looked for elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

import msgspec

from envfreeze.errors import UsageError
from envfreeze.model.lock import Lock, Scope, SystemLayer, SystemPackage, Unproved
from envfreeze.model.snapshot import Finding
from envfreeze.model.words import plural

SCOPES: tuple[Scope, ...] = get_args(Scope)
NOT_KEPT = "system-not-kept"
_SHOWN = 12


def parse(text: str) -> Scope:
    """:raises UsageError: *text* is no scope."""
    for scope in SCOPES:
        if text == scope:
            return scope
    raise UsageError(f"--system {text!r}: not a choice of system packages", hint=", ".join(SCOPES))


def not_kept(package: Unproved) -> Finding:
    """A package beyond what is needed that is neither proved nor packed."""
    return Finding(
        kind=NOT_KEPT,
        place=package.info,
        detail=f"{package.version}: {package.reason}",
        advice="a build that is to install it refuses without it",
    )


def chosen(lock: Lock, scope: Scope, *, bootstrap: bool = False) -> Lock:
    """*lock* with the packages that are to be installed as those that it needs, and no others.

    Not a lock to write: its digests are those of the whole.

    :param bootstrap: with what a root directory begins with.
    :raises UsageError: a package is not in the lock.
    """
    system = lock.machine.system
    found = {_key(package): package for package in system.packages}
    if scope != "needed":
        found |= _more(lock, scope)
    if bootstrap:
        found |= _foundation(system)
    packages = sorted(found.values(), key=lambda package: (package.name, package.arch))
    changed = msgspec.structs.replace(system, packages=packages, others=[])
    return lock.with_machine(system=changed)


def _key(package: SystemPackage) -> str:
    return f"{package.name}:{package.arch}"


def _kept(system: SystemLayer) -> dict[str, SystemPackage]:
    return {_key(package): package for package in (*system.packages, *system.others)}


def _more(lock: Lock, scope: Scope) -> Mapping[str, SystemPackage]:
    system = lock.machine.system
    kept = _kept(system)
    wanted = _wanted(system, scope)
    missing = wanted - kept.keys() - {f"{one.name}:{one.arch}" for one in system.held}
    wide_enough = SCOPES.index(system.scope) >= SCOPES.index(scope)
    if wide_enough and lock.machine.base is not None:
        # What is not in the lock is in the image, but for what could not be kept.
        missing &= {finding.place for finding in lock.machine.findings if finding.kind == NOT_KEPT}
    if missing:
        raise UsageError(
            f"--system {scope}: the lock holds no .deb of {_shown(missing, system)}",
            hint=f"Capture again with --system {scope}, where apt's archives are in reach.",
        )
    return kept if scope == "all" else _with_depends(wanted, kept)


def _wanted(system: SystemLayer, scope: Scope) -> set[str]:
    if scope == "all":
        return set(_installed(system))
    return set(system.essential) | (_asked(system) if scope == "manual" else set())


def _with_depends(
    wanted: Iterable[str], kept: Mapping[str, SystemPackage]
) -> dict[str, SystemPackage]:
    by_name: dict[str, list[str]] = {}
    for key, package in kept.items():
        by_name.setdefault(package.name, []).append(key)
    found: dict[str, SystemPackage] = {}
    queue = [key for key in wanted if key in kept]
    while queue:
        key = queue.pop()
        if key not in found:
            found[key] = kept[key]
            queue += [other for name in kept[key].depends for other in by_name.get(name, ())]
    return found


def _foundation(system: SystemLayer) -> dict[str, SystemPackage]:
    """What a root directory begins with.

    :raises UsageError: not all of it is in the lock.
    """
    if system.manager != "dpkg" or not system.essential:
        raise UsageError(
            "--base bootstrap makes a root of Debian's packages, and the lock does not say which"
            " ones a system begins with",
            hint="It needs a lock of a Debian or Ubuntu, captured with --system essential.",
        )
    kept = _kept(system)
    missing = set(system.essential) - kept.keys()
    if missing:
        raise UsageError(
            f"--base bootstrap: the lock holds no .deb of {_shown(missing, system)}, which every"
            " such system begins with",
            hint="Capture again with --system essential, or give a base by digest.",
        )
    return {key: kept[key] for key in system.essential}


def _installed(system: SystemLayer) -> dict[str, tuple[str, str]]:
    """Key to version and who asked for it: ``manual``, ``auto`` or nothing."""
    found = {}
    for line in system.installed:
        name, version, arch, *asked = line.split(" ")
        found[f"{name}:{arch}"] = version, "".join(asked)
    return found


def _asked(system: SystemLayer) -> set[str]:
    """What somebody asked for.

    :raises UsageError: the lock does not know.
    """
    known = _installed(system)
    if not any(asked for _, asked in known.values()):
        raise UsageError(
            "--system manual: the lock does not say which system packages were asked for by hand",
            hint="Where apt wrote it down it does. --system all takes every one.",
        )
    return {key for key, (_, asked) in known.items() if asked == "manual"}


def _shown(keys: Iterable[str], system: SystemLayer) -> str:
    """Some packages by name and version, and how many."""
    names = sorted(keys)
    known = _installed(system)
    words = [f"{key.partition(':')[0]} {known.get(key, ('', ''))[0]}".rstrip() for key in names]
    rest = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{plural(len(names), 'package')}: {', '.join(words[:_SHOWN])}{rest}"
