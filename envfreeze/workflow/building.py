"""``envfreeze build``: fetch by hash, build without a network, probe the result, compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envfreeze.diff import compare as comparing
from envfreeze.errors import EnvfreezeError, LockError, UsageError
from envfreeze.model.lock import Lock
from envfreeze.targets import local
from envfreeze.workflow.context import Context, load
from envfreeze.workflow.fetching import fetch
from envfreeze.workflow.pushing import Pushed
from envfreeze.workflow.verifying import Verified, verify_local

if TYPE_CHECKING:
    from envfreeze.build.sync import SyncPlan

VENV_LAYERS: tuple[comparing.Layer, ...] = (
    "interpreter",
    "packages",
    "shadowed",
    "files",
    "sources",
)
"""What a venv can hold: the system below it is the machine's."""

CONDA_LAYERS: tuple[comparing.Layer, ...] = (*VENV_LAYERS, "conda")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What every build takes."""

    offline: bool = False
    python: str | None = None
    post_link: bool = False
    """Whether the scripts of conda packages run when they are linked."""
    solver_free: str | None = None
    """The conda, mamba or micromamba that links conda packages; None: py-rattler does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A built environment and the verdict on it."""

    place: str
    packages: int
    files: int
    """Files that no distribution owns."""
    difference: comparing.Difference
    verified: Verified | None = None
    """How the verdict came about."""
    python_path: str = ""
    """What PYTHONPATH has to be for it; a venv cannot set it."""
    conda: int = 0
    """Conda packages."""
    pushed: Pushed | None = None
    """Where it was pushed to: only what is equal to the lock is."""


def distributions(lock: Lock) -> int:
    return len(lock.packages) + len(lock.machine.held)


def built(lock: Lock, place: str, found: Verified) -> Built:
    """What is told of *lock*, built at *place*."""
    return Built(
        place=place,
        packages=distributions(lock),
        files=sum(len(site.files) for site in lock.machine.loose),
        conda=len(lock.machine.conda.packages) if lock.machine.conda else 0,
        difference=found.difference,
        verified=found,
    )


Confirm = Callable[["SyncPlan"], bool]
"""Is asked before anything is removed from a venv."""


def _never(todo: SyncPlan) -> bool:
    del todo
    return False


def build_venv(
    lock_path: Path,
    into: Path,
    options: BuildOptions,
    context: Context,
    confirm: Confirm = _never,
) -> Built:
    """Rebuild the lock as a venv at *into*, then probe it and compare.

    A venv that lies there already is made equal to the lock: what differs is replaced, once
    *confirm* has said yes.

    :raises EnvfreezeError: it could not be built; *into* is as it was.
    """
    from envfreeze.build import pythons, sync, venv

    lock = load(lock_path)
    check_complete(lock)
    check_without_conda(lock, "a venv")
    _check_without_base(lock)
    if sync.is_venv(into):
        return _sync_venv(lock, lock_path, into, options, context, confirm)
    venv.check_place(into)
    python = pythons.matching(lock.machine.interpreter.facts, context.environ, options.python)
    artifacts = fetch(lock, lock_path, venv.wanted(lock), options.offline, context)
    plan = venv.VenvPlan(lock=lock, artifacts=artifacts, python=python, into=into.absolute())
    result = venv.build(plan, context.progress)
    return _looked_at(lock, lock_path, _Result(into, result, VENV_LAYERS), context)


@dataclass(frozen=True, slots=True)
class _Result:
    """What was made, and is to be looked at."""

    into: Path
    python: Path
    layers: tuple[comparing.Layer, ...]


def _looked_at(lock: Lock, lock_path: Path, made: _Result, context: Context) -> Built:
    """Verify what was made in a new directory."""
    from envfreeze.build.sinks import remove_tree
    from envfreeze.build.venv import source_places

    place = made.into.absolute()
    target = local.LocalTarget(python=str(made.python), described=str(made.into), own=False)
    path = lock.python_path(source_places(lock, place))
    try:
        found = verify_local(lock, lock_path, target, _with_path(context, path), made.layers)
    except KeyboardInterrupt:
        # Whole, but not verified: nobody should take it for a finished build.
        remove_tree(place)
        raise
    return replace(built(lock, str(made.into), found), python_path=path)


def build_conda(lock_path: Path, into: Path, options: BuildOptions, context: Context) -> Built:
    """Rebuild the lock as a conda prefix at *into*, then probe it and compare.

    :raises MissingExtraError: py-rattler is not installed.
    :raises EnvfreezeError: it could not be built; *into* is as it was.
    """
    from envfreeze.build import conda, condaprogram, venv

    lock = load(lock_path)
    check_complete(lock)
    _check_without_base(lock, "a conda prefix")
    if lock.machine.conda is None:
        raise UsageError(f"{lock_path} has no conda packages", hint="Build it with --to venv.")
    conda.check_platform(lock.machine.conda)
    venv.check_place(into)
    asked = options.solver_free
    program = condaprogram.find(asked, context.environ) if asked is not None else None
    wanted = [*venv.wanted(lock), *lock.machine.conda.artifacts]
    artifacts = fetch(lock, lock_path, wanted, options.offline, context)
    place = into.absolute()
    plan = conda.CondaPlan(
        lock=lock,
        artifacts=artifacts,
        into=place,
        scripts=options.post_link,
        program=program,
    )
    python = conda.build(plan, context.progress)
    return _looked_at(lock, lock_path, _Result(into, python, CONDA_LAYERS), context)


def check_without_conda(lock: Lock, what: str) -> None:
    """Refuse what cannot hold conda packages."""
    if lock.machine.conda is not None:
        count = len(lock.machine.conda.packages)
        raise UsageError(
            f"{what} cannot hold the {count} conda packages of this lock",
            hint="Build it with --to conda.",
        )


def _with_path(context: Context, python_path: str) -> Context:
    """*context* as an environment sees it that needs this PYTHONPATH."""
    environ = {**context.environ, "PYTHONPATH": python_path}
    return replace(context, environ=environ if python_path else context.environ)


def _sync_venv(
    lock: Lock,
    lock_path: Path,
    into: Path,
    options: BuildOptions,
    context: Context,
    confirm: Confirm,
) -> Built:
    from envfreeze.build import sync

    if options.python is not None:
        raise UsageError(f"{into} is a venv and has its own interpreter: --python is for a new one")
    target = replace(local.find(str(into), context.environ), described=str(into))
    if target.own:
        raise UsageError(
            f"{into} is the environment that envfreeze itself runs from",
            hint="Name a directory that does not exist yet, or run another envfreeze.",
        )
    if sync.was_interrupted(into):
        context.progress.note(f"an earlier sync of {into} was interrupted: this one finishes it")
    with context.progress.task("look"):
        seen = local.observe(target, environ=context.environ, cache=context.cache).snapshot
    todo = sync.plan(lock, seen)
    if todo.removes and not confirm(todo):
        raise EnvfreezeError(f"{into} was not changed")
    if not todo.empty or sync.was_interrupted(into):
        artifacts = fetch(lock, lock_path, sync.wanted(lock, todo), options.offline, context)
        means = sync.Means(
            lock=lock,
            artifacts=artifacts,
            into=into,
            facts=seen.interpreter,
            progress=context.progress,
        )
        sync.apply(todo, means)
    path = lock.python_path(todo.source_places)
    found = verify_local(lock, lock_path, target, _with_path(context, path), VENV_LAYERS)
    return replace(built(lock, str(into), found), python_path=path)


def check_complete(lock: Lock) -> None:
    """Refuse what would come out incomplete: named things of which the lock has no bytes."""
    lost = [f"  {u.name} {u.version}: {u.reason}" for u in lock.machine.unproved]
    if lock.machine.conda is not None:
        lost += [
            f"  conda {package.name} {package.version}: {package.evidence}"
            for package in lock.machine.conda.unproved
        ]
        if lock.machine.conda.loose is not None and lock.machine.conda.loose.archive is None:
            lost.append(f"  unowned files of {lock.machine.conda.prefix}")
    lost += [f"  unowned files of {site.site}" for site in lock.machine.loose if site.lost]
    lost += [
        f"  the source tree {source.root}"
        for source in lock.machine.sources
        if source.digest is not None and source.archive is None and not source.in_base
    ]
    if lost:
        raise LockError(
            "this lock cannot be rebuilt: it names what it does not hold\n" + "\n".join(lost),
            hint="Capture again without --no-pack, with the index in reach.",
        )


def _check_without_base(lock: Lock, place: str = "a venv") -> None:
    """Refuse what has no base image to stand on, where the lock leaves things to that."""
    machine = lock.machine
    base = machine.base
    files = sum(entry.in_base for site in machine.loose for entry in site.files)
    trees = sum(source.in_base for source in machine.sources)
    if base is None or not (machine.held or files or trees):
        return
    names = [package.name for package in machine.held]
    parts = [", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")]
    parts += [f"{files} of the files that no distribution owns"] if files else []
    parts += [f"{trees} of the source trees"] if trees else []
    raise UsageError(
        f"{place} cannot hold what is in the base image {base.pinned} alone:"
        f" {', '.join(filter(None, parts))}",
        hint="Build with --to docker on that base, or capture again with --pack-base.",
    )
