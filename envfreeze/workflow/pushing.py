"""An image into a registry with its lock beside it, and a lock back from there."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envfreeze.errors import ArtifactError, UsageError
from envfreeze.model import lock as locks
from envfreeze.model.identity import check_identity
from envfreeze.model.lock import Lock
from envfreeze.store import Sidecar, Stamps, write_atomic
from envfreeze.workflow.basing import registry_of
from envfreeze.workflow.context import Context

if TYPE_CHECKING:
    from envfreeze.build.engine import Engine
    from envfreeze.build.push import Attached, Pusher
    from envfreeze.resolve.ociimage import Descriptor
    from envfreeze.resolve.pipconf import IndexSettings
    from envfreeze.resolve.registry import Asked, Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """An image in a registry."""

    reference: str
    """``NAME:TAG@sha256:...``."""
    lock: str
    """The digest of the artifact that holds the lock."""
    listed_as: str
    """The tag under which that is listed; empty: the registry lists it itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """A lock from a registry."""

    lock: Lock
    image: str
    told_by: str
    packed: int
    missing: tuple[str, ...] = ()
    """What the lock packs, and nobody has kept."""


def destination(tag: str | None) -> Reference:
    """Where ``--push`` goes to.

    :raises UsageError: no tag, or one that names no registry.
    """
    from envfreeze.render.dockerfile import check_tag
    from envfreeze.resolve import registry

    if tag is None:
        raise UsageError("--push needs --tag", hint="For example: --tag registry.example/train:1")
    reference = registry.parse(check_tag(tag))
    if reference.host is None:
        raise UsageError(
            f"--tag {tag} does not say which registry to push to",
            hint="Write HOST/NAME:TAG, for example: --tag registry.example/train:1",
        )
    return reference


def push_archive(
    lock_path: Path, lock: Lock, archive: Path, base: str, tag: str, context: Context
) -> Pushed:
    """Push the image of an archive, without an engine, and attach its lock.

    :param base: what it was built on: its layers may be in the registry already.
    :raises ArtifactError: the registry refuses, or does not answer.
    """
    to = destination(tag)
    pusher = _pusher(to, base, context)
    return _attach(pusher, pusher.image(archive, to.tag), to, lock_path, lock)


def push_image(lock_path: Path, lock: Lock, engine: Engine, tag: str, context: Context) -> Pushed:
    """Let the engine push the image *tag*, and attach its lock.

    :raises EngineError: the engine could not push it.
    :raises ArtifactError: the registry refuses the lock, or has another image by now.
    """
    to = destination(tag)
    image_id = str((engine.inspect(tag) or {}).get("Id"))
    with context.progress.task("push"):
        engine.push(tag)
    subject = _asked(to, (), context).built(to.tag, image_id)
    return _attach(_pusher(to, "", context), subject, to, lock_path, lock)


def _attach(
    pusher: Pusher, subject: Descriptor, to: Reference, lock_path: Path, lock: Lock
) -> Pushed:
    from envfreeze.build.push import beside

    attached: Attached = pusher.attach(subject, beside(lock, lock_path))
    return Pushed(
        reference=f"{to.shown}@{subject.digest}", lock=attached.digest, listed_as=attached.tag
    )


def _pusher(to: Reference, base: str, context: Context) -> Pusher:
    from envfreeze.build.push import Pusher

    mounts = _mounts(to, base)
    scopes = [f"repository:{to.repository}:pull,push"]
    scopes += [f"repository:{name}:pull" for name in mounts]
    return Pusher(_asked(to, scopes, context), context.progress, mounts)


def _mounts(to: Reference, base: str) -> list[str]:
    """The repository of the base, where it is another one of the same registry."""
    from envfreeze.resolve import registry

    if "@" not in base:
        return []
    below = registry.parse(base.partition("@")[0])
    same = below.host == to.host and below.repository != to.repository
    return [below.repository] if same else []


def _asked(reference: Reference, scopes: tuple[str, ...] | list[str], context: Context) -> Asked:
    from envfreeze.resolve.registry import Asked

    return Asked(registry_of(_settings(context), context), reference, scopes)


def _settings(context: Context) -> IndexSettings:
    """Proxy and certificates, as pip of this Python is configured."""
    from envfreeze.resolve.pipconf import read_settings

    return read_settings(environ=context.environ, prefix=Path(sys.prefix), pip_sources=[])


# --- back ---------------------------------------------------------------------------------


def pull(reference: str, output: Path, context: Context) -> Pulled:
    """Write the lock of an image in a registry to *output*, and what it packs to where it says.

    :raises ArtifactError: there is no such image, or no lock of it.
    """
    from envfreeze.build.pull import Puller
    from envfreeze.build.push import packed
    from envfreeze.resolve import registry
    from envfreeze.resolve.ociimage import DIGEST

    name, at, digest = reference.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise UsageError(f"{reference!r} is no image", hint="Write HOST/NAME:TAG or NAME@sha256:…")
    parsed = registry.parse(name)
    puller = Puller(_asked(parsed, (), context), context.cache)
    with context.progress.task("pull"):
        found = puller.lock(digest or parsed.tag, _machine())
    lock = _read(found.text, reference)
    wanted = packed(lock)
    missing = [one.filename for one in wanted if one.sha256 not in found.packed]
    sidecar = Sidecar(output)
    stamps = Stamps(context.cache, sidecar.root)
    with sidecar.all_or_nothing():
        with context.progress.task("packed", len(wanted)) as advance:
            for one in wanted:
                if one.sha256 in found.packed:
                    sidecar.keep(puller.file(found.packed[one.sha256]), one, stamps)
                advance(1)
        write_atomic(output, found.text)
    return Pulled(
        lock=lock,
        image=found.image,
        told_by=found.told_by,
        packed=len(wanted) - len(missing),
        missing=tuple(missing),
    )


def _read(text: bytes, source: str) -> Lock:
    try:
        lock = locks.loads(text.decode("utf-8"), source=f"the lock of {source}")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"the lock of {source} is not UTF-8 text") from error
    check_identity(lock, f"the lock of {source}")
    return lock


def _machine() -> tuple[str, str]:
    """This machine, as Go calls it: of an image for several it is the one that is looked at."""
    from envfreeze.resolve.baseimage import of_machine

    return of_machine(platform.machine()) or ("amd64", "")
