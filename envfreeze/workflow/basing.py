"""The base image of a build: chosen from the lock, pinned by whoever knows its digest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envfreeze.errors import ArtifactError, EngineError, UsageError
from envfreeze.model.lock import Lock
from envfreeze.workflow.context import Context, load, settings

if TYPE_CHECKING:
    from envfreeze.resolve.baseimage import Choice
    from envfreeze.resolve.dockerlogin import Login
    from envfreeze.resolve.registry import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """What ``--to docker`` takes."""

    offline: bool = False
    tag: str | None = None
    base: str | None = None
    """By digest; None: chosen from the lock (:func:`envfreeze.workflow.choose_base`)."""
    registry: str | None = None
    """Where official images are, ``HOST`` or ``HOST/PREFIX``; None: the public registry."""
    render_only: Path | None = None
    template: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image by digest, and why it was chosen."""

    reference: str
    """``NAME:TAG@sha256:...``."""
    reason: str
    told_by: str
    """Who knew the digest."""
    notes: tuple[str, ...] = ()


_Platform = tuple[str, str]


def choose_base(lock_path: Path, options: ImageOptions, context: Context) -> Base:
    """The base image for a lock, without ``--base``.

    :raises UsageError: no table knows one, or nobody tells its digest; it says what to pass.
    """
    return base_of(load(lock_path), options, context)


def base_of(lock: Lock, options: ImageOptions, context: Context) -> Base:
    """The same, for a lock that was read."""
    from envfreeze.resolve import baseimage, registry

    choice = _choice(lock)
    platform = baseimage.platform(lock.machine.interpreter.facts)
    if platform is None:
        machine = lock.machine.interpreter.facts.machine
        raise _unknown(f"no table knows what images for {machine} are called")
    reference = registry.parse(choice.image)
    if options.registry is not None:
        reference = registry.at(reference, options.registry)
    pinned, told_by = _pin(lock, (reference, platform), options, context)
    return Base(reference=pinned, reason=choice.reason, told_by=told_by, notes=choice.notes)


def _choice(lock: Lock) -> Choice:
    from envfreeze.resolve import baseimage

    choice = baseimage.choose(lock)
    if choice is None:
        system = lock.machine.system
        known = system.os_release.get("PRETTY_NAME") or system.os_release.get("ID")
        raise _unknown(f"no table knows an official image for {known or system.kernel}")
    if not choice.buildable:
        raise _unknown(f"{choice.image} would be the base ({choice.reason}); {choice.notes[0]}")
    return choice


def _unknown(why: str) -> UsageError:
    return UsageError(
        f"{why}: --to docker needs --base NAME@sha256:DIGEST",
        hint="docker inspect --format '{{.RepoDigests}}' NAME shows the digest of an image.",
    )


def _pin(
    lock: Lock, wanted: tuple[Reference, _Platform], options: ImageOptions, context: Context
) -> tuple[str, str]:
    """``(reference by digest, who told it)``: the registry, else the engine.

    :raises UsageError: neither tells.
    """
    reference, platform = wanted
    said = []
    if options.offline:
        said.append("--offline: no registry was asked")
    else:
        try:
            return _by_registry(lock, reference, platform, context), "its registry"
        except ArtifactError as error:
            said.append(f"{error}" + (f" ({error.hint})" if error.hint else ""))
    try:
        found = _by_engine(reference, platform, ask=not options.offline)
        if found is not None:
            return found, "the engine"
        said.append(f"the engine has no {reference.shown} with a digest")
    except EngineError as error:
        said.append(str(error))
    raise UsageError(
        f"the base would be {reference.shown}, and nobody tells its digest:\n"
        + "\n".join(f"  {line}" for line in said),
        hint=f"Pass it: --base {reference.shown}@sha256:DIGEST\n"
        f"docker pull {reference.shown} shows the digest; --registry names a mirror.",
    )


def _by_registry(lock: Lock, reference: Reference, platform: _Platform, context: Context) -> str:
    from envfreeze.build.engine import public_registry
    from envfreeze.resolve import dockerlogin
    from envfreeze.resolve.http import Http
    from envfreeze.resolve.registry import Registry

    public, key = public_registry()

    def login(host: str) -> Login | None:
        keys = [key, host] if host == public else [host, f"https://{host}"]
        return dockerlogin.find(keys, context.environ)

    http = Http(settings(lock.machine.interpreter.facts, context))
    with context.progress.task("base"):
        return Registry(http=http, public=public, login=login).pin(reference, platform)


def _by_engine(reference: Reference, platform: _Platform, *, ask: bool) -> str | None:
    from envfreeze.build.engine import connect

    return connect().pinned(reference.shown, platform[0], ask=ask)
