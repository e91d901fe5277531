"""``envfreeze build --to docker|oci``: laid as layers; an engine runs what has to be run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.errors import EngineError, UsageError
from envfreeze.model import lock as locks
from envfreeze.model.lock import Lock
from envfreeze.model.moved import moved
from envfreeze.model.onbase import off_base, on_base
from envfreeze.store import disk_errors, hash_file
from envfreeze.workflow.basing import (
    BOOTSTRAP,
    ImageOptions,
    base_image,
    base_of,
    bootstrap_image,
    image_in_engine,
    installed_by,
)
from envfreeze.workflow.building import Built, built, check_complete, distributions
from envfreeze.workflow.context import Context, load
from envfreeze.workflow.fetching import fetch, fetch_interpreter
from envfreeze.workflow.pushing import Pushed, destination, push_archive, push_image
from envfreeze.workflow.verifying import verify_image

if TYPE_CHECKING:
    from envfreeze.build.docker import Inputs
    from envfreeze.build.engine import Engine
    from envfreeze.build.interpreters import Chosen
    from envfreeze.build.oci import Plan
    from envfreeze.build.ociarchive import Written
    from envfreeze.render.dockerfile import DockerOptions
    from envfreeze.render.running import Running
    from envfreeze.resolve.ociimage import Image


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


def _asked(lock_path: Path, options: ImageOptions, context: Context) -> tuple[Lock, ImageOptions]:
    """The lock as *options* want it built, and what is left of them.

    :raises LockError: it names what it does not hold.
    """
    lock, options = _placed_at(installed_by(load(lock_path), options), options, context)
    check_complete(lock)
    return lock, options


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
    return lock.with_machine(interpreter=layer)


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

    lock, options = _asked(lock_path, options, context)
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
    lock, options = _asked(lock_path, options, context)
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
    return replace(built(lock, chosen.tag, found), pushed=pushed)


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
    lock, options = _asked(lock_path, options, context)
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
        packages=distributions(lock),
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
    return built(lock, tag, found)


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
