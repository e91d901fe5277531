"""The commands as functions: capture, build, verify, diff. No printing, no exit."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from envfreeze.diff import compare as comparing
from envfreeze.diff import view
from envfreeze.errors import (
    ArtifactError,
    EngineError,
    LockError,
    NotHermeticError,
    TargetError,
    UsageError,
)
from envfreeze.model import lock as locks
from envfreeze.model.identity import check_identity
from envfreeze.model.lock import Lock
from envfreeze.model.snapshot import Interpreter, Snapshot
from envfreeze.model.survey import files_of, survey
from envfreeze.progress import Progress
from envfreeze.store import Cache, Sidecar, disk_errors, hash_file, write_atomic
from envfreeze.targets import local

if TYPE_CHECKING:
    from envfreeze.build.docker import Inputs
    from envfreeze.build.engine import Engine
    from envfreeze.render.dockerfile import DockerOptions
    from envfreeze.resolve.frozen import Frozen
    from envfreeze.resolve.index import Index
    from envfreeze.resolve.memory import Terms
    from envfreeze.resolve.pipconf import IndexSettings

IMAGE = "image:"
STDOUT = Path("-")

VENV_LAYERS: tuple[comparing.Layer, ...] = ("interpreter", "packages", "files")
"""What a venv can hold; the system below it is the machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every command runs with."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cache: Cache = field(default_factory=Cache)
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """How to capture; the defaults are the command's."""

    offline: bool = False
    pack: bool = True
    strict: bool = False
    rehash: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A written lock, and what to tell about it."""

    lock: Lock
    target: local.LocalTarget
    found: int
    counts: Mapping[str, int]
    problems: list[str]
    packed_bytes: int


def load(path: Path | str) -> Lock:
    """Read a lock file.

    :raises LockError: it is not there, cannot be read, or is not a lock.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise LockError(
            f"{path}: no such file", hint="Make one first: envfreeze capture -o " + path.name
        ) from error
    except OSError as error:
        raise LockError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LockError(f"{path} is not a lock: it is not UTF-8 text") from error
    lock = locks.loads(text, source=str(path))
    check_identity(lock, str(path))
    return lock


def capture(
    target: str | None, output: Path, options: CaptureOptions, context: Context
) -> Captured:
    """Observe *target*, prove or pack everything, and write the lock to *output*.

    The packed bytes are written before the lock, and the lock replaces an older one whole.

    :raises NotHermeticError: ``strict``, and something is neither proved nor packed; nothing
        is written then.
    """
    _check_output(output, options)
    if target is not None and target.startswith(IMAGE):
        raise UsageError(
            f"{target}: images can be verified and compared, not captured yet",
            hint="Run envfreeze inside a container of it, or capture where it was made.",
        )
    found = local.find(target, context.environ)
    sidecar = Sidecar(output)
    # The probe is another process: meanwhile an earlier result is looked up and checked.
    earlier = _Earlier(found, options, sidecar, context)
    with context.progress.task("look"):
        observation = local.observe(
            found,
            environ=context.environ,
            cache=context.cache,
            rehash=options.rehash,
            meanwhile=earlier.start,
        )
    frozen = earlier.result(observation.fingerprint)
    if frozen is None:
        frozen = _freeze(observation.snapshot, options, sidecar, context)
        earlier.remember(observation.fingerprint, frozen)
    if options.strict and not frozen.lock.machine.hermetic:
        raise _not_hermetic(frozen.lock)
    packed = _write(frozen.lock, output, sidecar, context)
    return Captured(
        lock=frozen.lock,
        target=found,
        found=frozen.found,
        counts=frozen.counts,
        problems=frozen.problems,
        packed_bytes=packed,
    )


def _freeze(
    snapshot: Snapshot, options: CaptureOptions, sidecar: Sidecar, context: Context
) -> Frozen:
    from envfreeze.resolve import freeze

    means = freeze.Means(
        index=_index(snapshot.interpreter, context),
        cache=context.cache,
        sidecar=sidecar,
        progress=context.progress,
        offline=options.offline,
        pack=options.pack,
    )
    return freeze.freeze(snapshot, means)


class _Earlier:
    """The result of an earlier capture of the same target, looked up in a thread."""

    def __init__(
        self,
        target: local.LocalTarget,
        options: CaptureOptions,
        sidecar: Sidecar,
        context: Context,
    ) -> None:
        self._parts = (target, options, sidecar, context)
        self._found: tuple[str, Frozen] | None = None
        self._thread = threading.Thread(target=self._look_up, daemon=True)
        self.start = self._thread.start

    def _terms(self) -> Terms:
        from envfreeze.resolve.memory import Terms

        _, options, sidecar, context = self._parts
        return Terms(
            cache=context.cache,
            sidecar=sidecar,
            offline=options.offline,
            pack=options.pack,
            settings=lambda facts: _settings(facts, context).fingerprint,
        )

    def _look_up(self) -> None:
        from envfreeze.resolve import memory

        target, options, _, context = self._parts
        fingerprint = local.last_fingerprint(target, context.cache)
        if fingerprint is not None and not options.rehash:
            frozen = memory.recall(fingerprint, self._terms())
            if frozen is not None:
                self._found = fingerprint, frozen
                return
        # It will be made anew: import now what that takes.
        import envfreeze.resolve.freeze  # noqa: F401

    def result(self, fingerprint: str | None) -> Frozen | None:
        """The earlier result, if it was of an environment with this very fingerprint."""
        self._thread.join()
        if self._found is None or self._found[0] != fingerprint:
            return None
        return self._found[1]

    def remember(self, fingerprint: str | None, frozen: Frozen) -> None:
        """Keep a new result for the next capture."""
        from envfreeze.resolve import memory

        memory.remember(fingerprint, frozen, self._terms())


def _check_output(output: Path, options: CaptureOptions) -> None:
    """Find out before the work, not after it, that the lock has no place to go."""
    if output == STDOUT:
        if options.pack:
            raise UsageError(
                "-o - writes the lock to standard output, and packed bytes have no place there",
                hint="Name a file, or add --no-pack to name what cannot be proved.",
            )
        return
    if output.is_dir():
        raise UsageError(f"{output} is a directory", hint="Name a file: -o env.lock")
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)


def _settings(facts: Interpreter, context: Context) -> IndexSettings:
    """The indexes as pip of the target is configured to see them."""
    from envfreeze.resolve.pipconf import read_settings

    return read_settings(
        environ=context.environ, prefix=Path(facts.prefix), pip_sources=[Path(facts.purelib)]
    )


def _index(facts: Interpreter, context: Context) -> Index:
    from envfreeze.resolve.http import Http
    from envfreeze.resolve.index import Index

    settings = _settings(facts, context)
    return Index(settings, Http(settings))


def _write(lock: Lock, output: Path, sidecar: Sidecar, context: Context) -> int:
    if output == STDOUT:
        return 0  # The caller prints it.
    data = locks.dumps(lock).encode("utf-8")
    packed = [artifact for artifact in locks.artifacts(lock) if artifact.path is not None]
    with sidecar.all_or_nothing():
        for artifact in packed:
            source = context.cache.find(artifact.sha256)
            if source is None:
                raise ArtifactError(f"{artifact.filename} vanished from {context.cache.root}")
            sidecar.keep(source, artifact)
        if not _is_same(output, data):
            _check_standard(data.decode("utf-8"))
            write_atomic(output, data)
    sidecar.sweep(lock)
    return sum(artifact.size for artifact in packed)


def _is_same(path: Path, data: bytes) -> bool:
    """Whether *path* holds exactly *data*: then there is nothing to check or write."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _check_standard(text: str) -> None:
    """A lock that is not valid PEP 751 is a bug, and is not written."""
    from packaging.pylock import Pylock, PylockValidationError

    try:
        Pylock.from_dict(locks.parse(text)).validate()
    except PylockValidationError as error:
        raise LockError(f"the lock would not be valid PEP 751: {error}") from error


def _not_hermetic(lock: Lock) -> NotHermeticError:
    machine = lock.machine
    lines = [f"  {u.name} {u.version}: {u.reason}" for u in machine.unproved]
    lines += [f"  {u.name} {u.version}: {u.reason}" for u in machine.system.unproved]
    if machine.interpreter.origin == "unpacked":
        lines.append("  the interpreter: not packed (--no-pack)")
    lines += [f"  {f.kind}: {f.place}: {f.detail}" for f in machine.findings if f.kind in _open()]
    return NotHermeticError(
        "the environment is not hermetic; neither proved nor packed:\n" + "\n".join(lines),
        hint="Without --strict the lock is written, and names these.",
    )


def _open() -> frozenset[str]:
    from envfreeze.resolve.freeze import OPEN

    return OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What every build takes."""

    offline: bool = False
    python: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """What ``--to docker`` takes."""

    offline: bool = False
    tag: str | None = None
    base: str | None = None
    render_only: Path | None = None
    template: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A built environment and the verdict on it."""

    place: str
    packages: int
    difference: comparing.Difference


def _fetch(
    lock: Lock, lock_path: Path, wanted: list[locks.Artifact], offline: bool, context: Context
) -> dict[str, Path]:
    from envfreeze.build.fetch import Fetcher

    http = None if offline else _index(lock.machine.interpreter.facts, context).http
    return Fetcher(lock_path, context.cache, http).all(wanted, context.progress)


def build_venv(lock_path: Path, into: Path, options: BuildOptions, context: Context) -> Built:
    """Rebuild the lock as a venv at *into*, then probe it and compare.

    :raises EnvfreezeError: it could not be built; *into* is as it was.
    """
    from envfreeze.build import pythons, venv

    lock = load(lock_path)
    _check_complete(lock)
    venv.check_place(into)
    python = pythons.matching(lock.machine.interpreter.facts, context.environ, options.python)
    wanted = [package.artifact for package in lock.packages]
    wanted += [site.archive for site in lock.machine.loose if site.archive is not None]
    artifacts = _fetch(lock, lock_path, wanted, options.offline, context)
    plan = venv.VenvPlan(lock=lock, artifacts=artifacts, python=python, into=into.absolute())
    result = venv.build(plan, context.progress)
    target = local.LocalTarget(python=str(result), described=str(into), own=False)
    difference = _verify(lock, lock_path, target, context, VENV_LAYERS)
    return Built(place=str(into), packages=len(lock.packages), difference=difference)


def _check_complete(lock: Lock) -> None:
    """Refuse what would come out incomplete: named things of which the lock has no bytes."""
    lost = [f"  {u.name} {u.version}: {u.reason}" for u in lock.machine.unproved]
    lost += [
        f"  unowned files of {site.site}" for site in lock.machine.loose if site.archive is None
    ]
    if lost:
        raise LockError(
            "this lock cannot be rebuilt: it names what it does not hold\n" + "\n".join(lost),
            hint="Capture again without --no-pack, with the index in reach.",
        )


def render_docker(lock_path: Path, options: ImageOptions, context: Context) -> Path:
    """Write the Dockerfile and everything it copies to ``options.render_only``; build nothing."""
    from envfreeze.build import docker

    lock = load(lock_path)
    _check_complete(lock)
    into = options.render_only
    if into is None:
        raise UsageError("nowhere to render to", hint="--render-only DIR")
    files = _fetch(lock, lock_path, locks.artifacts(lock), options.offline, context)
    return docker.prepare(
        lock,
        _docker_options(lock, lock_path, options),
        _inputs(lock, lock_path, files, context),
        into,
    )


def build_docker(lock_path: Path, options: ImageOptions, context: Context) -> Built:
    """Build the image of a lock with the network off, then probe it and compare.

    :raises EngineError: no engine answers, or a step failed.
    """
    import tempfile

    from envfreeze.build import docker
    from envfreeze.build.engine import connect

    lock = load(lock_path)
    _check_complete(lock)
    docker_options = _docker_options(lock, lock_path, options)
    engine = connect()
    engine.base_by_digest(docker_options.base)
    files = _fetch(lock, lock_path, locks.artifacts(lock), options.offline, context)
    inputs = _inputs(lock, lock_path, files, context)
    with tempfile.TemporaryDirectory(prefix="envfreeze-", dir=_scratch(context)) as scratch:
        directory = docker.prepare(lock, docker_options, inputs, Path(scratch) / "context")
        with context.progress.task("image"):
            docker.build_image(engine, directory, docker_options)
    difference = _verify_image(lock, lock_path, engine, docker_options.tag, context)
    return Built(place=docker_options.tag, packages=len(lock.packages), difference=difference)


def _scratch(context: Context) -> Path:
    """A context is as large as the environment: it goes where the cache has its room."""
    place = context.cache.root / "scratch"
    with disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    return place


def _docker_options(lock: Lock, lock_path: Path, options: ImageOptions) -> DockerOptions:
    from envfreeze.render.dockerfile import DockerOptions, split_base

    if options.base is None:
        raise UsageError(
            "--to docker needs --base NAME@sha256:DIGEST, the image to build on",
            hint="docker inspect --format '{{.RepoDigests}}' NAME shows the digest of an image.",
        )
    split_base(options.base)
    return DockerOptions(
        base=options.base,
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


def _verify_image(
    lock: Lock, lock_path: Path, engine: Engine, image: str, context: Context
) -> comparing.Difference:
    with context.progress.task("verify"):
        snapshot = _observe_image(engine, image, lock.machine.interpreter.facts.executable)
    before = _lock_side(lock, str(lock_path), context)
    return _compare(before, _live_side(snapshot, f"image:{image}"))


def _observe_image(engine: Engine, image: str, python: str) -> Snapshot:
    """Run the probe in a container of *image* that has no network and is removed afterwards.

    :param python: where its interpreter should be; else the one on its PATH is asked.
    """
    from envfreeze.targets.bundle import Question

    question = Question()
    for candidate in (python, "python3", "python"):
        try:
            output = engine.run_probe(image, question.argv(candidate))
        except EngineError as error:
            if "no such file" not in str(error) and "not found" not in str(error):
                raise
            continue
        return question.answer(output, f"image:{image}").snapshot
    raise TargetError(
        f"image:{image} has no Python: neither {python} nor python3 on its PATH",
        hint="Is that the image of this environment?",
    )


def verify(
    lock_path: Path, target: str | None, *, rehash: bool, context: Context
) -> comparing.Difference:
    """Is *target* still the environment of the lock?

    :param target: a local target, or ``image:REF``.
    """
    lock = load(lock_path)
    if target is not None and target.startswith(IMAGE):
        from envfreeze.build.engine import connect

        image = target.removeprefix(IMAGE)
        return _verify_image(lock, lock_path, connect(), image, context)
    found = local.find(target, context.environ)
    return _verify(lock, lock_path, found, context, rehash=rehash)


def _verify(
    lock: Lock,
    lock_path: Path,
    target: local.LocalTarget,
    context: Context,
    layers: tuple[comparing.Layer, ...] = comparing.LAYERS,
    *,
    rehash: bool = False,
) -> comparing.Difference:
    with context.progress.task("verify"):
        observation = local.observe(
            target, environ=context.environ, cache=context.cache, rehash=rehash
        )
    title = target.python if target.described == "PATH" else target.described
    before = _lock_side(lock, str(lock_path), context)
    return _compare(before, _live_side(observation.snapshot, title), layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One side of a comparison, and what it knows of the files behind a tree digest."""

    view: view.View
    files: Callable[[str], Mapping[str, str] | None]


def _lock_side(lock: Lock, title: str, context: Context) -> _Side:
    from envfreeze.resolve import trees

    return _Side(
        view=view.of_lock(lock, title), files=lambda tree: trees.recall(tree, context.cache)
    )


def _live_side(snapshot: Snapshot, title: str) -> _Side:
    def files(tree: str) -> Mapping[str, str] | None:
        found = (item for item in survey(snapshot).seen if item.tree == tree)
        return next((dict(files_of(item)) for item in found), None)

    return _Side(view=view.of_snapshot(snapshot, title), files=files)


def _compare(
    before: _Side, after: _Side, layers: tuple[comparing.Layer, ...] = comparing.LAYERS
) -> comparing.Difference:
    """Compare, and name the files of packages that have the same version and other content."""
    difference = comparing.compare(before.view, after.view, layers)
    changes = [
        _with_files(change, before, after)
        if change.layer == "packages" and change.kind == "content"
        else change
        for change in difference.changes
    ]
    return msgspec.structs.replace(difference, changes=changes)


def _with_files(change: comparing.Change, before: _Side, after: _Side) -> comparing.Change:
    from envfreeze.resolve import trees

    one, two = before.view.packages[change.name].tree, after.view.packages[change.name].tree
    there = before.files(one) if one else None
    here = after.files(two) if two else None
    if there is None or here is None:
        return change
    return msgspec.structs.replace(change, files=trees.differing(there, here))


def diff(before: str, after: str, context: Context) -> comparing.Difference:
    """Compare two sides, each a lock or a target."""
    return _compare(_side(before, context), _side(after, context))


def _side(text: str, context: Context) -> _Side:
    if text.startswith(IMAGE):
        from envfreeze.build.engine import connect

        image = text.removeprefix(IMAGE)
        return _live_side(_observe_image(connect(), image, "python3"), text)
    path = Path(text)
    if _is_lock(path):
        return _lock_side(load(path), text, context)
    if not path.exists() and path.suffix in {".lock", ".toml"}:
        raise LockError(f"{text}: no such file")
    try:
        found = local.find(text, context.environ)
    except TargetError as error:
        raise TargetError(
            str(error), hint="Give a lock, an interpreter, a venv or a prefix."
        ) from error
    observation = local.observe(found, environ=context.environ, cache=context.cache)
    return _live_side(observation.snapshot, text)


def _is_lock(path: Path) -> bool:
    """A regular file that cannot be run is read as a lock."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and (not mode & 0o111 or path.suffix in {".lock", ".toml"})
