"""``envfreeze doctor``: look at this machine, and hold a lock or what is active against it."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envfreeze.doctor.examine import examine
from envfreeze.doctor.facts import Check, Here, Installed, Python
from envfreeze.errors import TargetError, UsageError
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Dist, Snapshot
from envfreeze.model.survey import survey
from envfreeze.targets import local
from envfreeze.workflow.context import Context, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was looked at, worst first."""

    subject: str
    """The lock's path, or the environment's."""
    checks: list[Check]


def doctor(lock_path: Path | None, context: Context) -> Examined:
    """Will the lock run on this machine? Without one: does what is active here?

    :raises UsageError: without a lock, the active environment is envfreeze's own.
    :raises TargetError: without a lock, no environment is active.
    """
    lock = None if lock_path is None else load(lock_path)
    target = _target(lock, context)
    with context.progress.task("look"):
        observed = local.observe(target, environ=context.environ, cache=context.cache, host=True)
        here = _here(observed.snapshot, lock, context)
    subject = str(lock_path) if lock_path else _shown(target)
    return Examined(subject=subject, checks=examine(lock, here))


def _shown(target: local.LocalTarget) -> str:
    return target.python if target.described == "PATH" else target.described


def _target(lock: Lock | None, context: Context) -> local.LocalTarget:
    """The active environment; to look at the machine alone, any interpreter will do."""
    try:
        return local.find(None, context.environ)
    except (TargetError, UsageError) as error:
        if lock is None:
            hint = "Activate the environment that you mean, or give a LOCK."
            raise type(error)(str(error), hint=hint) from error
        return local.LocalTarget(python=sys.executable, described=sys.prefix, own=True)


def _here(snapshot: Snapshot, lock: Lock | None, context: Context) -> Here:
    libraries: Mapping[str, bool]
    users: Mapping[str, list[str]] = {}
    if lock is None:
        libraries, users = _active_libraries(snapshot)
    else:
        libraries = _asked_libraries(snapshot, lock)
    return Here(
        host=snapshot.host,
        interpreter=snapshot.interpreter,
        installed=tuple(_installed(item.dist) for item in survey(snapshot).seen),
        system=snapshot.system,
        libraries=libraries,
        users=users,
        free=_free(context),
        pythons=None if lock is None else _pythons(lock, context),
    )


def _installed(dist: Dist) -> Installed:
    from packaging.utils import canonicalize_name

    return Installed(name=canonicalize_name(dist.name), version=dist.version, tags=tuple(dist.tags))


def _active_libraries(snapshot: Snapshot) -> tuple[dict[str, bool], dict[str, list[str]]]:
    from envfreeze.resolve.system import libraries

    scan = libraries(snapshot, survey(snapshot))
    there = {path.rpartition("/")[2]: True for path in scan.found}
    return {**there, **dict.fromkeys(scan.missing, False)}, scan.missing


def _asked_libraries(snapshot: Snapshot, lock: Lock) -> dict[str, bool]:
    from envfreeze.resolve.elf import present

    findings = lock.machine.findings
    names = {finding.place for finding in findings if finding.kind == "missing-library"}
    return present(sorted(names), snapshot.interpreter.base_executable)


def _free(context: Context) -> dict[str, int]:
    """Free bytes where a build would write: here and in the cache; one entry a file system."""
    found: dict[int, tuple[str, int]] = {}
    for place in (Path.cwd(), context.cache.root):
        with contextlib.suppress(OSError, StopIteration):
            there = next(path for path in (place, *place.parents) if path.is_dir())
            device = there.stat().st_dev
            found.setdefault(device, (str(place), shutil.disk_usage(there).free))
    return dict(found.values())


def _pythons(lock: Lock, context: Context) -> tuple[Python, ...]:
    from envfreeze.build.pythons import seen

    return tuple(seen(lock.machine.interpreter.facts, context.environ))
