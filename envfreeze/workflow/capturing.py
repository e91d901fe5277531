"""``envfreeze capture``: observe, prove or pack, write the lock whole."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envfreeze.errors import (
    ArtifactError,
    DamagedEntryError,
    LockError,
    NotHermeticError,
    UsageError,
)
from envfreeze.model import scope as scopes
from envfreeze.model.snapshot import Snapshot
from envfreeze.store import Sidecar, Stamps, disk_errors, write_atomic
from envfreeze.targets import local
from envfreeze.targets.inside import DOCKER, IMAGE, is_inside
from envfreeze.workflow.context import Context, index, settings, without_cache

if TYPE_CHECKING:
    from envfreeze.model.lock import Lock
    from envfreeze.resolve.based import BaseFiles
    from envfreeze.resolve.frozen import Frozen
    from envfreeze.resolve.memory import Terms
    from envfreeze.resolve.rootfs import Root
    from envfreeze.targets.bundle import Observation

STDOUT = Path("-")
"""The output that means: the caller prints the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """How to capture; the defaults are the command's."""

    offline: bool = False
    pack: bool = True
    strict: bool = False
    rehash: bool = False
    without: tuple[str, ...] = ()
    """Distributions to leave out, with what only they needed."""
    pack_base: bool = False
    """Of a container or an image: what its image has is proved or packed as anything else."""
    needs: tuple[str, ...] = ()
    """Programs that packages call, by name or absolute path: what brings them is needed, too."""
    system: str = "needed"
    """Which packages of the system are kept: ``needed``, ``essential``,
    ``manual`` or ``all``."""

    def __post_init__(self) -> None:
        scopes.parse(self.system)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """A written lock, and what to tell about it."""

    lock: Lock
    target: local.LocalTarget
    found: int
    counts: Mapping[str, int]
    problems: list[str]
    packed_bytes: int
    left_out: tuple[str, ...] = ()
    """What :attr:`CaptureOptions.without` left out."""


def capture(
    target: str | None, output: Path, options: CaptureOptions, context: Context
) -> Captured:
    """Observe *target*, prove or pack everything, and write the lock to *output*.

    The packed bytes are written before the lock, and the lock replaces an older one whole.

    A damaged entry of the cache is made again; a cache that cannot be written is done without.

    :raises NotHermeticError: ``strict``, and something is neither proved nor packed; nothing
        is written then.
    """
    _check_output(output, options)

    def once(context: Context) -> Captured:
        for _ in range(_REPAIRS):
            with contextlib.suppress(DamagedEntryError):
                return _capture(target, output, options, context)
        return _capture(target, output, options, context)

    captured, trouble = without_cache(once, context)
    return replace(captured, problems=[*captured.problems, *trouble])


_REPAIRS = 3
"""Times that a capture drops what is damaged in the cache, and begins anew."""


def _capture(
    target: str | None, output: Path, options: CaptureOptions, context: Context
) -> Captured:
    if options.pack_base and not (target or "").startswith((DOCKER, IMAGE)):
        raise UsageError(
            "--pack-base is for docker:NAME and image:REF: nothing else stands on a base image"
        )
    if target is not None and is_inside(target):
        return _capture_inside(target, output, options, context)
    found = local.find(target, context.environ)
    special = bool(options.without or options.needs) or found.running is not None
    sidecar = Sidecar(output)
    # The probe is another process: meanwhile an earlier result is looked up and checked.
    earlier = _Earlier(found, options, sidecar, context)
    with context.progress.task("look"):
        observation = local.observe(
            found,
            environ=context.environ,
            cache=context.cache,
            rehash=options.rehash,
            host=True,
            # It remembers whole environments: one that leaves something out, or has the facts of
            # a process, passes it by.
            meanwhile=None if special else earlier.start,
        )
    left_out: list[str] = []
    frozen = None if special else earlier.result(observation)
    if special:
        snapshot = local.seen(found, observation)
        if options.without:
            from envfreeze.model.without import without

            snapshot, left_out = without(snapshot, options.without)
        frozen = _freeze(snapshot, options, sidecar, context)
    elif frozen is None:
        frozen = _freeze(observation.snapshot, options, sidecar, context)
        frozen = replace(frozen, below=observation.below_digest)
        earlier.remember(observation.fingerprint, frozen)
    return _written(found, frozen, left_out, options, sidecar, context)


def _capture_inside(
    target: str, output: Path, options: CaptureOptions, context: Context
) -> Captured:
    """Capture what is not this machine's own: its files are read where they are."""
    from envfreeze.workflow.reaching import reached

    sidecar = Sidecar(output)
    left_out: list[str] = []
    with reached(target, context, host=True) as found:
        snapshot = found.snapshot
        if options.without:
            from envfreeze.model.without import without

            snapshot, left_out = without(snapshot, options.without)
        with found.files() as root:
            base = None if options.pack_base else found.base(root)
            there = _There(root=root, environ=found.environ, base=base)
            frozen = _freeze(snapshot, options, sidecar, context, there)
    own = local.LocalTarget(python=found.python, described=target, own=False)
    return _written(own, frozen, left_out, options, sidecar, context)


def _written(
    target: local.LocalTarget,
    frozen: Frozen,
    left_out: list[str],
    options: CaptureOptions,
    sidecar: Sidecar,
    context: Context,
) -> Captured:
    """Write the lock, unless it has to be hermetic and is not."""
    if options.strict and not frozen.lock.machine.hermetic:
        raise _not_hermetic(frozen.lock)
    packed = _write(frozen, sidecar, context, rehash=options.rehash)
    return Captured(
        lock=frozen.lock,
        target=target,
        found=frozen.found,
        counts=frozen.counts,
        problems=frozen.problems,
        packed_bytes=packed,
        left_out=tuple(left_out),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _There:
    """Where a target's files are, if not on this machine."""

    root: Root
    environ: Mapping[str, str]
    """In which it looks for programs and libraries."""
    base: BaseFiles | None
    """The image that it stands on."""


def _freeze(
    snapshot: Snapshot,
    options: CaptureOptions,
    sidecar: Sidecar,
    context: Context,
    there: _There | None = None,
) -> Frozen:
    from envfreeze.resolve import freeze
    from envfreeze.resolve.rootfs import Root

    means = freeze.Means(
        index=index(snapshot.interpreter, context, there.root if there else None),
        cache=context.cache,
        sidecar=sidecar,
        progress=context.progress,
        offline=options.offline,
        pack=options.pack,
        needs=options.needs,
        scope=scopes.parse(options.system),
        environ=there.environ if there else context.environ,
        root=there.root if there else Root(),
        base=there.base if there else None,
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
            library_path=context.environ.get("LD_LIBRARY_PATH", ""),
            scope=scopes.parse(options.system),
            settings=lambda facts: settings(facts, context).fingerprint,
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

    def result(self, observation: Observation) -> Frozen | None:
        """The earlier result, if it was of this very environment on this very machine."""
        self._thread.join()
        if self._found is None or self._found[0] != observation.fingerprint:
            return None
        frozen = self._found[1]
        return frozen if frozen.below == observation.below_digest else None

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


def _write(frozen: Frozen, sidecar: Sidecar, context: Context, *, rehash: bool) -> int:
    from envfreeze.model import lock as locks

    output, lock = sidecar.lock_path, frozen.lock
    if output == STDOUT:
        return 0  # The caller prints it.
    data = (frozen.text or locks.dumps(lock)).encode("utf-8")
    packed = [artifact for artifact in locks.artifacts(lock) if artifact.path is not None]
    stamps = Stamps(context.cache, sidecar.root)
    if rehash:
        stamps.forget()
    with sidecar.all_or_nothing():
        for number, artifact in enumerate(packed):
            source = context.cache.find(artifact.sha256)
            if source is None:
                raise ArtifactError(f"{artifact.filename} vanished from {context.cache.root}")
            try:
                sidecar.keep(source, artifact, stamps)
            except DamagedEntryError:
                for other in packed[number:]:  # All at once: each costs a capture.
                    context.cache.find_whole(other.sha256)
                raise
        if not _is_same(output, data):
            _check_standard(data.decode("utf-8"))
            write_atomic(output, data)
    stamps.save()
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

    from envfreeze.model import lock as locks

    try:
        Pylock.from_dict(locks.parse(text)).validate()
    except PylockValidationError as error:
        raise LockError(f"the lock would not be valid PEP 751: {error}") from error


def _not_hermetic(lock: Lock) -> NotHermeticError:
    machine = lock.machine
    lines = [f"  {u.name} {u.version}: {u.reason}" for u in machine.unproved]
    lines += [f"  {u.name} {u.version}: {u.reason}" for u in machine.system.unproved]
    if machine.conda is not None:
        lost = machine.conda.unproved
        lines += [f"  conda {one.name} {one.version}: {one.evidence}" for one in lost]
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
