"""The base image of a build: chosen from the lock, pinned by whoever knows its digest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envfreeze.errors import ArtifactError, EngineError, EnvfreezeError, UsageError
from envfreeze.model import scope
from envfreeze.model.lock import BaseImage, Lock
from envfreeze.store import disk_errors
from envfreeze.workflow.context import Context, load, settings

if TYPE_CHECKING:
    from envfreeze.build.engine import Engine
    from envfreeze.resolve.baseimage import Choice
    from envfreeze.resolve.dockerlogin import Login
    from envfreeze.resolve.http import Http
    from envfreeze.resolve.ociimage import Image
    from envfreeze.resolve.pipconf import IndexSettings
    from envfreeze.resolve.registry import FindLogin, Reference, Registry


BOOTSTRAP = "bootstrap"
"""The base that is made of the lock's own packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """What ``--to docker`` and ``--to oci`` take."""

    offline: bool = False
    tag: str | None = None
    base: str | None = None
    """By digest, or :data:`BOOTSTRAP`; None: chosen from the lock
    (:func:`envfreeze.workflow.choose_base`)."""
    registry: str | None = None
    """Where official images are, ``HOST`` or ``HOST/PREFIX``; None: the public registry."""
    render_only: Path | None = None
    template: Path | None = None
    into: Path | None = None
    """oci: the archive to write."""
    user: str | None = None
    """Whom the image runs as; None: not root, where that can be."""
    push: bool = False
    """To the registry that the tag names, with the lock beside the image."""
    prefix: str | None = None
    """Where the environment is placed; None: where it was."""
    interpreter: str | None = None
    """Where it comes from: one of :data:`envfreeze.build.interpreters.WORDS`, or an archive; None:
    as the lock says."""
    system: str = "needed"
    """Which of the lock's system packages go into the image: ``needed``,
    ``essential``, ``manual`` or ``all``."""

    def __post_init__(self) -> None:
        scope.parse(self.system)


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

    :raises UsageError: no table knows one, or nobody tells its digest; it says what to pass. Or the
        lock has not the system packages that are to be installed.
    """
    return base_of(installed_by(load(lock_path), options), options, context)


def base_of(lock: Lock, options: ImageOptions, context: Context) -> Base:
    """The same, for a lock that was read."""
    from envfreeze.resolve import baseimage, registry

    if lock.machine.base is not None:
        if options.registry is not None:
            raise UsageError(
                f"--registry has nothing to choose: the environment was captured on"
                f" {lock.machine.base.pinned}",
                hint="To take the same image from a mirror: --base MIRROR/NAME@sha256:DIGEST",
            )
        return _own(lock.machine.base)
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


def _own(base: BaseImage) -> Base:
    local = "no registry knows it: the engine that it was captured on must have it"
    return Base(
        reference=base.pinned,
        reason="the environment was captured on it",
        told_by="the lock",
        notes=() if base.reference else (local,),
    )


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
    with context.progress.task("base"):
        return _registry(lock, context).pin(reference, platform)


def _registry(lock: Lock, context: Context) -> Registry:
    return registry_of(settings(lock.machine.interpreter.facts, context), context)


def registry_of(found: IndexSettings, context: Context) -> Registry:
    """A way to ask registries, by the proxy and certificates of these settings and with docker's
    logins."""
    from envfreeze.build.engine import public_registry
    from envfreeze.resolve.http import Http
    from envfreeze.resolve.registry import Registry

    public, key = public_registry()
    return Registry(
        http=Http(found),
        public=public,
        login=_login(public, key, context),
        relaxed=_relaxed(public, found, context),
    )


def _relaxed(public: str, found: IndexSettings, context: Context) -> Callable[[str], Http | None]:
    """For what docker's daemon, or else the engine, is told to take without a certificate."""
    from envfreeze.build.engine import connect
    from envfreeze.resolve import insecure
    from envfreeze.resolve.http import Http

    def listed(host: str) -> bool:
        if insecure.is_listed(host, insecure.of_daemon(context.environ)):
            return True
        try:
            with contextlib.closing(connect()) as engine:
                return insecure.is_listed(host, insecure.of_info(engine.info()))
        except EnvfreezeError:
            return False

    def relaxed(host: str) -> Http | None:
        if host == public or not listed(host):
            return None
        trusted = (*found.trusted_hosts, host)
        return Http(replace(found, trusted_hosts=trusted, retries=min(found.retries, 2)))

    return relaxed


def _login(public: str, key: str, context: Context) -> FindLogin:
    from envfreeze.resolve import dockerlogin

    def login(host: str) -> Login | None:
        keys = [key, host] if host == public else [host, f"https://{host}"]
        return dockerlogin.find(keys, context.environ)

    return login


def _by_engine(reference: Reference, platform: _Platform, *, ask: bool) -> str | None:
    from envfreeze.build.engine import connect

    return connect().pinned(reference.shown, platform[0], ask=ask)


def installed_by(lock: Lock, options: ImageOptions) -> Lock:
    """*lock* with the system packages that a build with *options* installs as those it has.

    :raises UsageError: one of them is not in the lock, or that base cannot be made of it.
    """
    bootstrap = options.base == BOOTSTRAP
    own = lock.machine.base
    if bootstrap and own is not None and lock.rests_on_base:
        raise UsageError(
            f"--base bootstrap: the lock rests on the base image {own.pinned}",
            hint="Leave --base out, or capture again with --pack-base.",
        )
    return scope.chosen(lock, scope.parse(options.system), bootstrap=bootstrap)


# --- the image itself, for a build without an engine ---------------------------------------


def bootstrap_image(lock: Lock, files: Mapping[str, Path], context: Context) -> Image:
    """The base image of the lock's own packages.

    :param files: sha256 to a file with these bytes, of each of them.
    :raises UsageError: what makes it is not there.
    :raises EngineError: it could not be made.
    """
    from envfreeze.build import bootstrap
    from envfreeze.resolve import baseimage

    platform = baseimage.platform(lock.machine.interpreter.facts)
    if platform is None:
        machine = lock.machine.interpreter.facts.machine
        raise UsageError(f"no table knows what images for {machine} are called")
    wanted = bootstrap.Wanted(lock=lock, artifacts=files, platform=platform, cache=context.cache)
    with context.progress.task("bootstrap"):
        return bootstrap.bootstrapped(wanted, context.progress.doing)


def base_image(
    lock: Lock, base: str, options: ImageOptions, scratch: Path, context: Context
) -> Image:
    """The base image's manifest, configuration and layers, each at hand.

    From a layout on this machine where *base* names one; else by digest out of the cache, from its
    registry, or from an engine, in this order.

    :param scratch: where an engine's copy may lie for as long as the image is used.
    :raises UsageError: there is none, or for another machine.
    """
    from envfreeze.resolve import baseimage, ociimage

    platform = baseimage.platform(lock.machine.interpreter.facts)
    if platform is None:
        machine = lock.machine.interpreter.facts.machine
        raise UsageError(f"no table knows what images for {machine} are called")
    local = ociimage.at(base, platform)
    return local if local is not None else _by_digest(lock, base, options, scratch, context)


def _by_digest(
    lock: Lock, base: str, options: ImageOptions, scratch: Path, context: Context
) -> Image:
    from envfreeze.render.dockerfile import split_base
    from envfreeze.resolve import baseimage, registry

    name, digest = split_base(base)
    platform = baseimage.platform(lock.machine.interpreter.facts) or ("", "")
    if not name:  # No registry knows it.
        return _saved(base, platform, scratch)
    reference = registry.parse(name)
    said = []
    try:
        store = registry.Store(cache=context.cache)
        if options.offline:
            return registry.of_store(store, reference, digest, platform)
        with context.progress.task("base"):
            return _registry(lock, context).image(reference, digest, platform, context.cache)
    except ArtifactError as error:
        said.append(f"{error}" + (f" ({error.hint})" if error.hint else ""))
    try:
        return _saved(base, platform, scratch)
    except EngineError as error:
        said.append(str(error))
    raise UsageError(
        f"the base image {base} cannot be had:\n" + "\n".join(f"  {line}" for line in said),
        hint="Give one that lies here: --base oci-archive:FILE or --base oci:DIRECTORY",
    )


def _saved(base: str, platform: _Platform, scratch: Path) -> Image:
    """The image as an engine has it. Its layers are unpacked there, so an archive that is made of
    them has the same image id as one from the registry, and other bytes."""
    from envfreeze.build.engine import connect

    engine = connect()
    if not engine.exists(base):
        raise EngineError(f"the engine at {engine.host} does not have it")
    return _of_engine(engine, base, platform, scratch)


def _of_engine(engine: Engine, base: str, platform: _Platform, scratch: Path) -> Image:
    from envfreeze.render.dockerfile import split_base
    from envfreeze.resolve import ociimage

    name, digest = split_base(base)
    path = scratch / "base.tar"
    with disk_errors(path), path.open("wb") as file:
        engine.save(base, file)
    return ociimage.of_docker_save(path, name, digest, platform)


def image_in_engine(
    lock: Lock, base: str, engine: Engine, scratch: Path, context: Context, *, whole: bool
) -> Image:
    """The base image as *engine* has it, pulled if it has to be.

    Its layers are in the engine; what they hold is looked at once and remembered. Their bytes are
    at hand only where that was not done yet, or with *whole*.

    :raises EngineError: the engine cannot have it.
    :raises UsageError: it is for another machine.
    """
    from envfreeze.build import ocibase
    from envfreeze.render.dockerfile import split_base
    from envfreeze.resolve import baseimage, ociimage

    name, digest = split_base(base)
    platform = baseimage.platform(lock.machine.interpreter.facts) or ("", "")
    key = engine.base_by_digest(base).rpartition(":")[2]
    note = None if whole else context.cache.read_note("base-images", key)
    if note is not None:
        found = ociimage.from_note(note, name, digest)
        if found is not None and ocibase.is_known(found.diff_ids, context.cache):
            ociimage.check_platform(found.config, platform, base)
            return found
    with context.progress.task("base"):
        image = _of_engine(engine, base, platform, scratch)
    context.cache.write_note("base-images", key, ociimage.to_note(image))
    return image
