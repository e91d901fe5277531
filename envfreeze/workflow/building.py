"""``envfreeze build``: fetch by hash, build without a network, probe the result, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.diff import compare as comparing
from envfreeze.errors import EngineError, EnvfreezeError, LockError, UsageError
from envfreeze.model import lock as locks
from envfreeze.model.lock import Lock
from envfreeze.model.moved import moved
from envfreeze.model.onbase import off_base, on_base
from envfreeze.store import disk_errors, hash_file
from envfreeze.targets import local
from envfreeze.workflow.basing import (
    BOOTSTRAP,
    ImageOptions,
    base_image,
    base_of,
    bootstrap_image,
    image_in_engine,
    installed_by,
)
from envfreeze.workflow.comparing import Verified, verify_image, verify_local
from envfreeze.workflow.context import Context, load
from envfreeze.workflow.fetching import fetch, fetch_interpreter
from envfreeze.workflow.pushing import Pushed, destination, push_archive, push_image

if TYPE_CHECKING:
    from envfreeze.build.docker import Inputs
    from envfreeze.build.engine import Engine
    from envfreeze.build.interpreters import Chosen
    from envfreeze.build.oci import Plan
    from envfreeze.build.ociarchive import Written
    from envfreeze.build.sync import SyncPlan
    from envfreeze.render.dockerfile import DockerOptions
    from envfreeze.render.running import Running
    from envfreeze.resolve.ociimage import Image

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


def _unowned(lock: Lock) -> int:
    return sum(len(site.files) for site in lock.machine.loose)


def _conda_packages(lock: Lock) -> int:
    return len(lock.machine.conda.packages) if lock.machine.conda else 0


def _distributions(lock: Lock) -> int:
    return len(lock.packages) + len(lock.machine.held)


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
    check_complete(lock)
    check_without_conda(lock, "a venv")
    _check_without_base(lock)
    if sync.is_venv(into):
        return _sync_venv(lock, lock_path, into, options, context, confirm)
    venv.check_place(into)
    python = pythons.matching(lock.machine.interpreter.facts, context.environ, options.python)
    wanted = [artifact for package in venv.locked(lock) for artifact in package.artifacts]
    archives = [site.archive for site in lock.machine.loose]
    archives += [source.archive for source in lock.machine.sources]
    wanted += [archive for archive in archives if archive is not None]
    artifacts = fetch(lock, lock_path, wanted, options.offline, context)
    plan = venv.VenvPlan(lock=lock, artifacts=artifacts, python=python, into=into.absolute())
    result = venv.build(plan, context.progress)
    target = local.LocalTarget(python=str(result), described=str(into), own=False)
    path = lock.python_path(venv.source_places(lock, into.absolute()))
    try:
        found = verify_local(lock, lock_path, target, _with_path(context, path), VENV_LAYERS)
    except KeyboardInterrupt:
        # Whole, but not verified: nobody should take it for a finished build.
        remove_tree(into.absolute())
        raise
    return Built(
        place=str(into),
        packages=len(lock.packages),
        files=_unowned(lock),
        difference=found.difference,
        verified=found,
        python_path=path,
    )


def build_conda(lock_path: Path, into: Path, options: BuildOptions, context: Context) -> Built:
    """Rebuild the lock as a conda prefix at *into*, then probe it and compare.

    :raises MissingExtraError: py-rattler is not installed.
    :raises EnvfreezeError: it could not be built; *into* is as it was.
    """
    from envfreeze.build import conda, venv
    from envfreeze.build.place import remove_tree

    lock = load(lock_path)
    check_complete(lock)
    _check_without_base(lock, "a conda prefix")
    if lock.machine.conda is None:
        raise UsageError(f"{lock_path} has no conda packages", hint="Build it with --to venv.")
    conda.check_platform(lock.machine.conda)
    venv.check_place(into)
    wanted = [artifact for package in venv.locked(lock) for artifact in package.artifacts]
    archives = [site.archive for site in lock.machine.loose]
    archives += [source.archive for source in lock.machine.sources]
    wanted += [archive for archive in archives if archive is not None]
    wanted += lock.machine.conda.artifacts
    artifacts = fetch(lock, lock_path, wanted, options.offline, context)
    place = into.absolute()
    plan = conda.CondaPlan(lock=lock, artifacts=artifacts, into=place, scripts=options.post_link)
    python = conda.build(plan, context.progress)
    path = lock.python_path(venv.source_places(lock, place))
    target = local.LocalTarget(python=str(python), described=str(into), own=False)
    try:
        found = verify_local(lock, lock_path, target, _with_path(context, path), CONDA_LAYERS)
    except KeyboardInterrupt:
        remove_tree(place)  # As of a venv.
        raise
    return Built(
        place=str(into),
        packages=len(lock.packages),
        files=_unowned(lock),
        difference=found.difference,
        verified=found,
        python_path=path,
        conda=_conda_packages(lock),
    )


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
    return Built(
        place=str(into),
        packages=len(lock.packages),
        files=_unowned(lock),
        difference=found.difference,
        verified=found,
        python_path=path,
    )


def check_complete(lock: Lock) -> None:
    """Refuse what would come out incomplete: named things of which the lock has no bytes."""
    lost = [f"  {u.name} {u.version}: {u.reason}" for u in lock.machine.unproved]
    if lock.machine.conda is not None:
        lost += [
            f"  conda {package.name} {package.version}: {package.evidence}"
            for package in lock.machine.conda.packages
            if package.artifact is None
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


def _standing(lock: Lock, base: str) -> Lock:
    """What of *lock* a build on *base* has to place.

    :raises UsageError: it rests on another base.
    """
    own = lock.machine.base
    if own is None:
        return lock
    if base == BOOTSTRAP:  # It was seen to rest on none.
        return off_base(lock)
    digest = (own.reference or "").partition("@")[2]
    if base == own.image_id or (digest and base.partition("@")[2] == digest):
        return on_base(lock)
    if lock.rests_on_base:
        raise UsageError(
            f"the lock rests on the base image {own.pinned}, and {base} is another one",
            hint="Leave --base out, or capture again with --pack-base.",
        )
    return off_base(lock)


def _placed_at(lock: Lock, options: ImageOptions, context: Context) -> tuple[Lock, ImageOptions]:
    """*lock*, its environment where *options* want it; without that wish where it is there anyway.
    The moved lock is what is placed, and what the image is compared with."""
    if options.prefix is None:
        return lock, options
    there = moved(lock, options.prefix)
    if there is lock:
        return lock, replace(options, prefix=None)
    own = lock.machine.interpreter.facts.prefix
    context.progress.note(f"placed, and verified, at {options.prefix} in place of {own}")
    return there, options


def _judged(lock: Lock, options: ImageOptions) -> Lock:
    """The lock to compare with. Nothing vouches for an interpreter from elsewhere than it says, so
    its own files are compared like those of a packed one."""
    if options.interpreter in {None, lock.machine.interpreter.origin}:
        return lock
    layer = msgspec.structs.replace(lock.machine.interpreter, origin="packed")
    machine = msgspec.structs.replace(lock.machine, interpreter=layer)
    tool = msgspec.structs.replace(lock.tool, envfreeze=machine)
    return msgspec.structs.replace(lock, tool=tool)


def _interpreted(lock: Lock, options: ImageOptions, context: Context) -> Chosen:
    """*lock* with its interpreter from where *options* say."""
    from envfreeze.build import interpreters

    def download(url: str) -> Path:
        return fetch_interpreter(url, lock, options.offline, context)

    return interpreters.chosen(lock, options.interpreter, context.cache, download)


def _check_interpreter(wanted: Chosen, options: ImageOptions, engine: Engine, base: str) -> None:
    from envfreeze.build import interpreters

    if options.interpreter == "base" and engine.exists(base):
        interpreters.check_same(wanted.lock, engine, base)


def _fetched(
    wanted: Chosen, lock_path: Path, options: ImageOptions, context: Context
) -> dict[str, Path]:
    """sha256 to file of all that is placed."""
    locked = [one for one in locks.artifacts(wanted.lock) if one.sha256 not in wanted.files]
    return {**fetch(wanted.lock, lock_path, locked, options.offline, context), **wanted.files}


def render_docker(lock_path: Path, options: ImageOptions, context: Context) -> Path:
    """Write the Dockerfile and everything it copies to ``options.render_only``; build nothing."""
    import tempfile

    from envfreeze.build import docker

    lock = installed_by(load(lock_path), options)
    lock, options = _placed_at(lock, options, context)
    check_complete(lock)
    into = options.render_only
    if into is None:
        raise UsageError("nowhere to render to", hint="--render-only DIR")
    chosen = docker_options(lock, lock_path, options, context)
    wanted = _interpreted(_standing(lock, chosen.base), options, context)
    files = _fetched(wanted, lock_path, options, context)
    with tempfile.TemporaryDirectory(prefix="envfreeze-", dir=_scratch(context)) as scratch:
        placed, files = _linked(wanted.lock, files, Path(scratch), context)
        return docker.prepare(placed, chosen, _inputs(placed, lock_path, files, context), into)


def _linked(
    lock: Lock, files: dict[str, Path], scratch: Path, context: Context
) -> tuple[Lock, dict[str, Path]]:
    """*lock* with its conda packages as one prefix, linked below *scratch*."""
    if lock.machine.conda is None:
        return lock, files
    from envfreeze.build import conda

    return conda.for_image(lock, files, scratch, context.progress)


def build_docker(lock_path: Path, options: ImageOptions, context: Context) -> Built:
    """Build the image of a lock with the network off, then probe it and compare.

    The engine runs what has to be run in the base. The rest is laid over that as layers, so two
    builds give the same image. With a template of the user's, the engine builds its Dockerfile.

    :raises EngineError: no engine answers, or a step failed.
    """
    import tempfile

    from envfreeze.build.engine import connect

    if options.push:
        destination(options.tag)
    lock = installed_by(load(lock_path), options)
    lock, options = _placed_at(lock, options, context)
    check_complete(lock)
    chosen = docker_options(lock, lock_path, options, context)
    engine = connect()
    if chosen.base != BOOTSTRAP:
        engine.base_by_digest(chosen.base)
    wanted = _interpreted(_standing(lock, chosen.base), options, context)
    placed = wanted.lock
    _check_interpreter(wanted, options, engine, chosen.base)
    files = _fetched(wanted, lock_path, options, context)
    with tempfile.TemporaryDirectory(prefix="envfreeze-", dir=_scratch(context)) as scratch:
        placed, files = _linked(placed, files, Path(scratch), context)
        job = _ImageJob(placed, lock_path, files, Path(scratch), context, options.prefix)
        with engine.tag_kept(chosen.tag):
            if options.template is not None:
                job.from_dockerfile(engine, chosen)
            else:
                job.into_engine(engine, chosen)
            judged = _judged(lock, options)
            found = verify_image(judged, lock_path, engine, chosen.tag, context, ours=True)
    pushed = None
    if options.push and found.difference.equal:
        pushed = push_image(lock_path, lock, engine, chosen.tag, context)
    return Built(
        pushed=pushed,
        place=chosen.tag,
        packages=_distributions(lock),
        conda=_conda_packages(lock),
        files=_unowned(lock),
        difference=found.difference,
        verified=found,
    )


@dataclass(frozen=True, slots=True)
class _ImageJob:
    """One image to make."""

    lock: Lock
    lock_path: Path
    files: Mapping[str, Path]
    scratch: Path
    context: Context
    prefix: str | None = None
    """Where somebody wants the environment."""

    def from_dockerfile(self, engine: Engine, options: DockerOptions) -> None:
        """Let the engine build a Dockerfile."""
        from envfreeze.build import docker

        inputs = _inputs(self.lock, self.lock_path, self.files, self.context)
        directory = docker.prepare(self.lock, options, inputs, self.scratch / "context")
        with self.context.progress.task("image"):
            docker.build_image(engine, directory, options, _steps(self.context))

    def into_engine(self, engine: Engine, options: DockerOptions) -> None:
        """Lay the layers, and give the engine those that it does not have.

        One that wants all of them gets them: podman and docker's containerd store do.
        """
        said: EngineError | None = None
        made = options.base == BOOTSTRAP
        for whole in (False, True):
            if made:
                image = bootstrap_image(self.lock, self.files, self.context)
            else:
                image = image_in_engine(
                    self.lock, options.base, engine, self.scratch, self.context, whole=whole
                )
            own = [] if made else [image.diff_ids]
            there = [] if whole else [*own, engine.layers_of(options.tag)]
            plan = self.plan(image, options.tag, self.scratch / "image.tar", options.running)
            plan = replace(plan, there=there)
            self.archive(plan, None if made else options.base, engine)
            try:
                with self.context.progress.task("load"):
                    engine.load(plan.into)
                    return
            except EngineError as error:
                said = said or error
        raise said or EngineError("the engine did not take the image")

    def archive(self, plan: Plan, reference: str | None, engine: Engine | None) -> Written:
        """Write the archive. *engine* runs what has to be run; None: the first that answers.

        :raises EngineError: one is needed, and none answers.
        """
        from envfreeze.build import oci, stage
        from envfreeze.build.engine import connect
        from envfreeze.build.ocidebs import NeedsEngineError

        wanted = stage.Wanted(
            lock=self.lock,
            artifacts=self.files,
            base=plan.base,
            reference=reference,
            cache=self.context.cache,
            scratch=self.scratch,
        )
        staged = stage.known(wanted)
        # What cannot be built without an engine is not built out of the cache either.
        if staged is not None and (engine is not None or _engine_answers()):
            return oci.build(replace(plan, base=staged, staged=True), self.context.progress)
        try:
            return oci.build(plan, self.context.progress)
        except NeedsEngineError as needed:
            try:
                chosen = engine or connect()
            except EngineError as none:
                raise UsageError(f"{needed}\n{none}", hint=needed.hint) from none
        with self.context.progress.task("stage"):
            base = stage.staged(wanted, chosen, self.context.progress.doing)
        return oci.build(replace(plan, base=base, staged=True), self.context.progress)

    def plan(self, base: Image, tag: str, into: Path, running: Running) -> Plan:
        from envfreeze.build import oci, ocibase

        if self.prefix is not None:
            ocibase.check_room(ocibase.look(base, self.context.cache), self.prefix, base.name)
        return oci.Plan(
            lock=self.lock,
            lock_path=self.lock_path,
            lock_sha256=hash_file(self.lock_path)[0],
            artifacts=self.files,
            base=base,
            tag=tag,
            into=into,
            cache=self.context.cache,
            running=running,
        )


def _engine_answers() -> bool:
    from envfreeze.build.engine import connect

    try:
        connect().close()
    except EngineError:
        return False
    return True


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
    pushed: Pushed | None = None
    built: Built | None = None
    """None: no engine was asked to load it, so nothing of it was run."""


def build_oci(lock_path: Path, options: ImageOptions, context: Context) -> Archived:
    """Write the image of a lock as an archive, without an engine where nothing has to be run.

    With a tag the archive is loaded into the engine then, probed there and compared; where it is
    to be pushed, it goes to the registry instead.

    :raises EngineError: a tag was given, and no engine answers; the archive is whole.
    """
    import tempfile

    from envfreeze.build import interpreters, ocibase
    from envfreeze.render.dockerfile import check_tag

    if options.push:
        destination(options.tag)
    elif options.into is None:
        raise UsageError("--to oci needs --into FILE", hint="For example: --into image.tar")
    if options.into is not None and options.into.is_dir():
        raise UsageError(f"{options.into} is a directory", hint="Name a file to write.")
    lock = installed_by(load(lock_path), options)
    lock, options = _placed_at(lock, options, context)
    check_complete(lock)
    tag = check_tag(options.tag or f"envfreeze:{lock.machine.id[:12]}")
    base = _base(lock, options, context)
    wanted = _interpreted(_standing(lock, base), options, context)
    placed = wanted.lock
    with tempfile.TemporaryDirectory(prefix="envfreeze-", dir=_scratch(context)) as scratch:
        made = base == BOOTSTRAP
        image = None if made else base_image(lock, base, options, Path(scratch), context)
        if options.interpreter == "base" and image is not None:
            interpreters.check_there(placed, ocibase.look(image, context.cache), base)
        files = _fetched(wanted, lock_path, options, context)
        placed, files = _linked(placed, files, Path(scratch), context)
        job = _ImageJob(placed, lock_path, files, Path(scratch), context, options.prefix)
        image = image or bootstrap_image(placed, files, context)
        into = options.into or Path(scratch) / "image.tar"
        plan = job.plan(image, tag, into, _running(lock, options))
        local = made or base.startswith(("oci:", "oci-archive:"))
        written = job.archive(plan, None if local else base, None)
        pushed = None
        if options.push:
            pushed = push_archive(lock_path, lock, into, "" if made else base, tag, context)
    return Archived(
        place=str(options.into or ""),
        pushed=pushed,
        packages=_distributions(lock),
        image_id=written.image_id,
        manifest=written.manifest,
        size=written.size,
        layers=len(written.layers),
        built=None
        if options.tag is None or options.push
        else _run_archive(lock, lock_path, options, context),
    )


def _run_archive(lock: Lock, lock_path: Path, options: ImageOptions, context: Context) -> Built:
    from envfreeze.build.engine import connect

    engine = connect()
    tag = str(options.tag)
    with engine.tag_kept(tag):
        with context.progress.task("load"):
            engine.load(Path(str(options.into)))
        judged = _judged(lock, options)
        found = verify_image(judged, lock_path, engine, tag, context, ours=True)
    return Built(
        place=tag,
        packages=_distributions(lock),
        conda=_conda_packages(lock),
        files=_unowned(lock),
        difference=found.difference,
        verified=found,
    )


def _steps(context: Context) -> Callable[[str], None]:
    """Tells which step the engine is at."""

    def tell(line: str) -> None:
        if line[:5].lower() == "step ":
            context.progress.note(line[:100])

    return tell


def _scratch(context: Context) -> Path:
    """A context is as large as the environment: it goes where the cache has its room."""
    place = context.cache.root / "scratch"
    with disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    return place


def _base(lock: Lock, options: ImageOptions, context: Context) -> str:
    """The base to build on: the one that is asked for, the lock's own, or one that fits."""
    return options.base or base_of(lock, options, context).reference


def docker_options(
    lock: Lock, lock_path: Path, options: ImageOptions, context: Context
) -> DockerOptions:
    from envfreeze.render.dockerfile import DockerOptions, split_base

    base = _base(lock, options, context)
    if base != BOOTSTRAP:
        split_base(base)
    elif options.template is not None or options.render_only is not None:
        raise UsageError(
            "--base bootstrap: a Dockerfile begins with an image by digest, and this one has none",
            hint="Without --render-only and --template the layers are laid over it.",
        )
    return DockerOptions(
        base=base,
        lock_sha256=hash_file(lock_path)[0],
        tag=options.tag or f"envfreeze:{lock.machine.id[:12]}",
        templates=options.template,
        running=_running(lock, options),
    )


def _running(lock: Lock, options: ImageOptions) -> Running:
    """As whom the image runs, and whether it asks for a GPU."""
    from envfreeze.doctor.gpu import demand
    from envfreeze.render.running import Gpu, Running

    found = demand(lock)
    gpu = None if found is None else Gpu(cuda=found.cuda, reason=found.reason)
    return Running(user=options.user, gpu=gpu)


def _inputs(lock: Lock, lock_path: Path, files: Mapping[str, Path], context: Context) -> Inputs:
    from envfreeze.build import tree
    from envfreeze.build.docker import Inputs

    return Inputs(
        lock_path=lock_path,
        files=files,
        place=lambda path: tree.write(lock, files, path, context.progress),
    )
