"""A lock to a virtual environment: no engine, no resolver, no network beyond the fetch."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from envfreeze.build import loosefiles, place, sinks
from envfreeze.build.homes import Homes, homes
from envfreeze.build.layout import Schemes
from envfreeze.errors import DiskError, TargetError, UsageError
from envfreeze.model.lock import Artifact, Lock, LooseSite, Package
from envfreeze.progress import Progress
from envfreeze.store import disk_errors

MARK = ".envfreeze-incomplete"
"""Stands in a venv until it is whole, so that a killed build is known for what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenvPlan:
    """What to build from, and where."""

    lock: Lock
    artifacts: Mapping[str, Path]
    """sha256 to a file with those bytes."""
    python: str
    into: Path


def check_place(into: Path) -> None:
    """Whether a venv may be made at *into*: absent, empty, or left by a killed build.

    :raises UsageError: something else is there.
    """
    if into.is_symlink() and not into.exists():
        raise UsageError(f"{into} is a link that leads nowhere", hint="Remove it first.")
    if not into.exists():
        return
    if not into.is_dir():
        raise UsageError(f"{into} is not a directory", hint="Name one that does not exist yet.")
    if (into / MARK).exists():
        sinks.remove_tree(into)
    elif any(into.iterdir()):
        raise UsageError(
            f"{into} exists and is not empty",
            hint="Name a directory that does not exist yet, or remove this one first.",
        )


def build(plan: VenvPlan, progress: Progress) -> Path:
    """Make the venv; its interpreter. On any failure ``plan.into`` is as it was.

    :raises EnvfreezeError: whatever stood in the way.
    """
    check_place(plan.into)
    if plan.into.is_symlink():  # The venv module makes none at a link.
        plan = replace(plan, into=plan.into.resolve())
    was_there = plan.into.is_dir()
    try:
        _create(plan)
        _fill(plan, progress)
        (plan.into / MARK).unlink()
    except BaseException:
        sinks.remove_tree(plan.into, keep=was_there)
        raise
    return plan.into / "bin" / "python"


def _create(plan: VenvPlan) -> None:
    with disk_errors(plan.into):
        plan.into.mkdir(parents=True, exist_ok=True)
        (plan.into / MARK).touch()
    try:
        done = subprocess.run(
            [plan.python, "-I", "-B", "-m", "venv", "--without-pip", str(plan.into)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise TargetError(f"{plan.python} cannot be run: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
        if "No space left" in said:
            raise DiskError(f"cannot write {plan.into}: No space left on device")
        raise TargetError(
            f"{plan.python} could not make a venv in {plan.into}:\n{said}",
            hint="On Debian and Ubuntu: apt install python3-venv",
        )


def source_places(lock: Lock, into: Path) -> dict[str, str]:
    """Where the source trees come in a venv at *into*, by key; as pip has it with ``-e git+``."""
    return {source.key: str(into / "src" / source.key) for source in lock.machine.sources}


def schemes(into: Path, python: str, version: str) -> Schemes:
    """The directories of a venv at *into* (sysconfig's ``venv`` scheme on POSIX)."""
    tag = "python" + ".".join(version.split(".")[:2])
    site = next(iter(sorted((into / "lib").glob("py*/site-packages"))), None)
    return Schemes(
        site=str(site or into / "lib" / tag / "site-packages"),
        scripts=str(into / "bin"),
        headers=str(into / "include" / "site" / tag),
        data=str(into),
        python=python,
    )


def _fill(plan: VenvPlan, progress: Progress) -> None:
    into = Path(plan.into).absolute()
    python = str(into / "bin" / "python")
    places = source_places(plan.lock, into)
    version = plan.lock.machine.interpreter.facts.version
    main = replace(schemes(into, python, version), sources=places)
    fill(plan.lock, plan.artifacts, main, progress)


def fill(lock: Lock, artifacts: Mapping[str, Path], main: Schemes, progress: Progress) -> None:
    """All packages of all captured site directories come into that of *main*, or behind it."""
    where = homes(lock, main.data, main)
    sink = sinks.DirectorySink(Path(main.data))
    packages = [(package, where.of(package)) for package in locked(lock)]
    with progress.task("place", len(packages)) as advance:
        place.place_parallel(packages, artifacts, sink, advance)
    for site in lock.machine.loose:
        if site.archive is not None:
            place_unowned(site, artifacts[site.archive.sha256], sink, where)
    for source in lock.machine.sources:
        if source.archive is not None:
            archive = artifacts[source.archive.sha256]
            loosefiles.place_source(source, archive, sink, main.sources)
    where.finish(sink)


def wanted(lock: Lock) -> list[Artifact]:
    """The artifacts that :func:`fill` places."""
    found = [artifact for package in locked(lock) for artifact in package.artifacts]
    archives = [site.archive for site in lock.machine.loose]
    archives += [source.archive for source in lock.machine.sources]
    return found + [archive for archive in archives if archive is not None]


def locked(lock: Lock) -> list[Package]:
    """All packages that a venv gets, the shadowed ones last."""
    return [*lock.packages, *lock.machine.shadowed]


def place_unowned(site: LooseSite, archive: Path, sink: sinks.Sink, where: Homes) -> None:
    """Put back the unowned files of a captured site directory.

    :raises LockError, ArtifactError: as :func:`loosefiles.place_loose`.
    """
    parts = where.parts(site)
    for part, schemes in parts:
        mine = {entry.path for entry in part.files}
        others = {entry.path for entry in site.files} - mine
        loosefiles.place_loose(part, archive, sink, schemes, others)
