"""``envfreeze build``: fetch by hash, build without a network, probe the result, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envfreeze.diff import compare as comparing
from envfreeze.errors import EnvfreezeError, LockError, UsageError
from envfreeze.model import lock as locks
from envfreeze.model.lock import Lock
from envfreeze.model.onbase import off_base, on_base
from envfreeze.store import disk_errors, hash_file
from envfreeze.targets import local
from envfreeze.workflow.basing import ImageOptions, base_of
from envfreeze.workflow.comparing import verify_image, verify_local
from envfreeze.workflow.context import Context, index, load

if TYPE_CHECKING:
    from envfreeze.build.docker import Inputs
    from envfreeze.build.sync import SyncPlan
    from envfreeze.render.dockerfile import DockerOptions

VENV_LAYERS: tuple[comparing.Layer, ...] = (
    "interpreter",
    "packages",
    "shadowed",
    "files",
    "sources",
)
"""What a venv can hold: the system below it is the machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What every build takes."""

    offline: bool = False
    python: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A built environment and the verdict on it."""

    place: str
    packages: int
    files: int
    """Files that no distribution owns."""
    difference: comparing.Difference
    python_path: str = ""
    """What PYTHONPATH has to be for it; a venv cannot set it."""


def _unowned(lock: Lock) -> int:
    return sum(len(site.files) for site in lock.machine.loose)


def _distributions(lock: Lock) -> int:
    return len(lock.packages) + len(lock.machine.held)


def _fetch(
    lock: Lock, lock_path: Path, wanted: list[locks.Artifact], offline: bool, context: Context
) -> dict[str, Path]:
    from envfreeze.build.fetch import Fetcher

    http = None if offline else index(lock.machine.interpreter.facts, context).http
    return Fetcher(lock_path, context.cache, http).all(wanted, context.progress)


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
    from envfreeze.build.place import remove_tree

    lock = load(lock_path)
    _check_complete(lock)
    _check_without_base(lock)
    if sync.is_venv(into):
        return _sync_venv(lock, lock_path, into, options, context, confirm)
    venv.check_place(into)
    python = pythons.matching(lock.machine.interpreter.facts, context.environ, options.python)
    wanted = [artifact for package in venv.locked(lock) for artifact in package.artifacts]
    archives = [site.archive for site in lock.machine.loose]
    archives += [source.archive for source in lock.machine.sources]
    wanted += [archive for archive in archives if archive is not None]
    artifacts = _fetch(lock, lock_path, wanted, options.offline, context)
    plan = venv.VenvPlan(lock=lock, artifacts=artifacts, python=python, into=into.absolute())
    result = venv.build(plan, context.progress)
    target = local.LocalTarget(python=str(result), described=str(into), own=False)
    path = lock.python_path(venv.source_places(lock, into.absolute()))
    try:
        difference = verify_local(lock, lock_path, target, _with_path(context, path), VENV_LAYERS)
    except KeyboardInterrupt:
        # Whole, but not verified: nobody should take it for a finished build.
        remove_tree(into.absolute())
        raise
    return Built(
        place=str(into),
        packages=len(lock.packages),
        files=_unowned(lock),
        difference=difference,
        python_path=path,
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
        artifacts = _fetch(lock, lock_path, sync.wanted(lock, todo), options.offline, context)
        means = sync.Means(
            lock=lock,
            artifacts=artifacts,
            into=into,
            facts=seen.interpreter,
            progress=context.progress,
        )
        sync.apply(todo, means)
    path = lock.python_path(todo.source_places)
    difference = verify_local(lock, lock_path, target, _with_path(context, path), VENV_LAYERS)
    return Built(
        place=str(into),
        packages=len(lock.packages),
        files=_unowned(lock),
        difference=difference,
        python_path=path,
    )


def _check_complete(lock: Lock) -> None:
    """Refuse what would come out incomplete: named things of which the lock has no bytes."""
    lost = [f"  {u.name} {u.version}: {u.reason}" for u in lock.machine.unproved]
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


def _standing(lock: Lock, base: str) -> Lock:
    """What of *lock* a build on *base* has to place.

    :raises UsageError: it rests on another base.
    """
    own = lock.machine.base
    if own is None:
        return lock
    if base == own.image_id or base.partition("@")[2] == (own.reference or "@").partition("@")[2]:
        return on_base(lock)
    if lock.rests_on_base:
        raise UsageError(
            f"the lock rests on the base image {own.pinned}, and {base} is another one",
            hint="Leave --base out, or capture again with --pack-base.",
        )
    return off_base(lock)


def render_docker(lock_path: Path, options: ImageOptions, context: Context) -> Path:
    """Write the Dockerfile and everything it copies to ``options.render_only``; build nothing."""
    from envfreeze.build import docker

    lock = load(lock_path)
    _check_complete(lock)
    into = options.render_only
    if into is None:
        raise UsageError("nowhere to render to", hint="--render-only DIR")
    docker_options = _docker_options(lock, lock_path, options, context)
    lock = _standing(lock, docker_options.base)
    files = _fetch(lock, lock_path, locks.artifacts(lock), options.offline, context)
    return docker.prepare(lock, docker_options, _inputs(lock, lock_path, files, context), into)


def build_docker(lock_path: Path, options: ImageOptions, context: Context) -> Built:
    """Build the image of a lock with the network off, then probe it and compare.

    :raises EngineError: no engine answers, or a step failed.
    """
    import tempfile

    from envfreeze.build import docker
    from envfreeze.build.engine import connect

    lock = load(lock_path)
    _check_complete(lock)
    docker_options = _docker_options(lock, lock_path, options, context)
    engine = connect()
    engine.base_by_digest(docker_options.base)
    placed = _standing(lock, docker_options.base)
    files = _fetch(lock, lock_path, locks.artifacts(placed), options.offline, context)
    inputs = _inputs(placed, lock_path, files, context)
    with tempfile.TemporaryDirectory(prefix="envfreeze-", dir=_scratch(context)) as scratch:
        directory = docker.prepare(placed, docker_options, inputs, Path(scratch) / "context")
        with context.progress.task("image"):
            docker.build_image(engine, directory, docker_options)
    difference = verify_image(lock, lock_path, engine, docker_options.tag, context)
    return Built(
        place=docker_options.tag,
        packages=_distributions(lock),
        files=_unowned(lock),
        difference=difference,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """An image archive, and the verdict where an engine has run it."""

    place: str
    packages: int
    image_id: str
    manifest: str
    size: int
    """Bytes."""
    layers: int
    built: Built | None = None
    """None: no engine was asked to load it, so nothing of it was run."""


def build_oci(lock_path: Path, options: ImageOptions, context: Context) -> Archived:
    """Write the image of a lock as an archive, without an engine.

    With a tag the archive is loaded into the engine then, probed there and compared.

    :raises EngineError: a tag was given, and no engine answers; the archive is whole.
    """
    import tempfile

    from envfreeze.build import oci
    from envfreeze.render.dockerfile import check_tag
    from envfreeze.workflow.basing import base_image

    if options.into is None:
        raise UsageError("--to oci needs --into FILE", hint="For example: --into image.tar")
    if options.into.is_dir():
        raise UsageError(f"{options.into} is a directory", hint="Name a file to write.")
    lock = load(lock_path)
    _check_complete(lock)
    tag = check_tag(options.tag or f"envfreeze:{lock.machine.id[:12]}")
    base = _base(lock, options, context)
    placed = _standing(lock, base)
    with tempfile.TemporaryDirectory(prefix="envfreeze-", dir=_scratch(context)) as scratch:
        image = base_image(lock, base, options, Path(scratch), context)
        plan = oci.Plan(
            lock=placed,
            lock_path=lock_path,
            lock_sha256=hash_file(lock_path)[0],
            artifacts=_fetch(lock, lock_path, locks.artifacts(placed), options.offline, context),
            base=image,
            tag=tag,
            into=options.into,
            cache=context.cache,
        )
        written = oci.build(plan, context.progress)
    return Archived(
        place=str(options.into),
        packages=_distributions(lock),
        image_id=written.image_id,
        manifest=written.manifest,
        size=written.size,
        layers=len(written.layers),
        built=None if options.tag is None else _run_archive(lock, lock_path, options, context),
    )


def _run_archive(lock: Lock, lock_path: Path, options: ImageOptions, context: Context) -> Built:
    from envfreeze.build.engine import connect

    engine = connect()
    tag = str(options.tag)
    with context.progress.task("load"):
        engine.load(Path(str(options.into)))
    difference = verify_image(lock, lock_path, engine, tag, context)
    return Built(
        place=tag, packages=_distributions(lock), files=_unowned(lock), difference=difference
    )


def _scratch(context: Context) -> Path:
    """A context is as large as the environment: it goes where the cache has its room."""
    place = context.cache.root / "scratch"
    with disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    return place


def _base(lock: Lock, options: ImageOptions, context: Context) -> str:
    """The base to build on: the one that is asked for, the lock's own, or one that fits."""
    return options.base or base_of(lock, options, context).reference


def _docker_options(
    lock: Lock, lock_path: Path, options: ImageOptions, context: Context
) -> DockerOptions:
    from envfreeze.render.dockerfile import DockerOptions, split_base

    base = _base(lock, options, context)
    split_base(base)
    return DockerOptions(
        base=base,
        lock_sha256=hash_file(lock_path)[0],
        tag=options.tag or f"envfreeze:{lock.machine.id[:12]}",
        templates=options.template,
    )


def _inputs(lock: Lock, lock_path: Path, files: Mapping[str, Path], context: Context) -> Inputs:
    from envfreeze.build import tree
    from envfreeze.build.docker import Inputs

    return Inputs(
        lock_path=lock_path,
        files=files,
        place=lambda path: tree.write(lock, files, path, context.progress),
    )
