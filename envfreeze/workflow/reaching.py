"""Reach what is not this machine's own: a container, an image, an unpacked root.

What they have in common for the rest of envfreeze: the probe's answer, the variables, and a
:class:`Root` in which the target's files lie. An engine's are copied out, as somebody who may not
enter its directories, or is on another machine, must.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envfreeze.errors import EngineError, TargetError
from envfreeze.model.artifact import is_below
from envfreeze.model.lock import BaseImage
from envfreeze.model.snapshot import Snapshot
from envfreeze.store import disk_errors
from envfreeze.targets import inside, naming
from envfreeze.targets.bundle import Observation
from envfreeze.targets.inside import What
from envfreeze.targets.naming import Named
from envfreeze.workflow.context import Context

if TYPE_CHECKING:
    from envfreeze.build.engine import Engine
    from envfreeze.resolve.based import BaseFiles
    from envfreeze.resolve.rootfs import Root

_BY_DIGEST = re.compile(r"[a-z0-9][a-z0-9._/:-]*(:[A-Za-z0-9_][\w.-]*)?@sha256:[0-9a-f]{64}")
_LINKS = 10
_GO_SYMLINK, _GO_DIRECTORY = 1 << 27, 1 << 31
"""Bits of Go's ``fs.FileMode``, in which an engine tells what a file is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A target that was looked at."""

    named: Named
    python: str
    observation: Observation
    environ: Mapping[str, str]
    """Its variables."""
    files: Callable[[], AbstractContextManager[Root]]
    """Its files, for as long as the block runs."""
    image: Mapping[str, Any] | None = None
    """What the engine says of the image that it is or runs; None: it is of none."""
    changes: Callable[[], list[tuple[str, int]]] = field(default=list)
    """``(path, kind)`` of what differs from that image, as docker tells it."""
    mounts: tuple[str, ...] = ()
    """Where something else than the image's files lies."""

    @property
    def snapshot(self) -> Snapshot:
        return self.observation.snapshot

    def base(self, root: Root) -> BaseFiles | None:
        """What the image has of the files in *root*; None: the target is of no image."""
        if self.image is None:
            return None
        from envfreeze.resolve.based import base_files

        return base_files(_base_image(self.image), root, self.changes(), self.mounts)


def _base_image(described: Mapping[str, Any]) -> BaseImage:
    """The image as a lock names it: by the digest that a registry gave it, where one did.

    Of several names, the one that it was called by.
    """
    image_id, name = str(described["Id"]), str(described["Name"])
    digests = sorted(str(digest) for digest in described.get("RepoDigests") or [])
    repository, tag = _split(name.partition("@")[0])
    own = [digest for digest in digests if digest.partition("@")[0] == repository]
    reference = next(iter([*own, *digests]), None)
    if own and tag:
        reference = f"{repository}:{tag}@{own[0].partition('@')[2]}"
    if reference is not None and not _BY_DIGEST.fullmatch(reference):
        reference = None
    if not image_id.startswith("sha256:"):
        image_id = f"sha256:{image_id}"  # Podman leaves it out.
    return BaseImage(image_id=image_id, reference=reference)


def _split(name: str) -> tuple[str, str]:
    """Repository and tag; a port is none."""
    head, mark, tail = name.rpartition(":")
    return (head, tail) if mark and "/" not in tail else (name, "")


@contextlib.contextmanager
def reached(
    target: str, context: Context, *, host: bool, engine: Engine | None = None, python: str = ""
) -> Iterator[Reached]:
    """Look at *target*, one of :data:`inside.KINDS`.

    :param host: look at the machine below, too.
    :param python: tried first, where no interpreter is named: a lock's.
    :raises TargetError: there is no such thing, or no Python to ask in it.
    :raises EngineError: no engine answers, or it refuses.
    """
    named = naming.named(target)
    if named.kind == naming.ROOT:
        with context.progress.task("look"):
            found = _in_root(named, python, host)
        yield found
        return
    if engine is None:
        from envfreeze.build.engine import connect

        engine = connect()
    if named.kind == naming.DOCKER:
        with context.progress.task("look"):
            found = _in_container(_Of(engine, named, context), python, host)
        yield found
        return
    described = _image(engine, named)
    with engine.created(str(described["Id"])) as container:
        with context.progress.task("look"):
            found = _in_image(_Of(engine, named, context), described, container, python, host)
        yield found


@dataclass(frozen=True, slots=True)
class _Of:
    engine: Engine
    named: Named
    context: Context


# --- containers ------------------------------------------------------------------------------


def _in_container(of: _Of, python: str, host: bool) -> Reached:
    engine, named = of.engine, of.named
    seen = engine.container(named.name)
    if seen is None:
        raise TargetError(
            f"{named.shown}: the engine at {engine.host} has no such container",
            hint=inside.similar(named.name, engine.container_names()),
        )
    _check_running(named, seen)
    container = str(seen["Id"])
    environ = inside.variables(seen["Config"].get("Env") or [])
    found = _python(named, _looker(engine, container), environ, python)
    asked = inside.question(environ, first_process=True, host=host)
    output = engine.execute(container, asked.argv(found), inside.quiet(environ))
    mounts = [str(each["Destination"]) for each in seen.get("Mounts") or []]
    mounts += list((seen.get("HostConfig") or {}).get("Tmpfs") or {})
    observation = inside.answer(asked, output, named, found)
    return Reached(
        named=named,
        python=found,
        observation=observation,
        environ=environ,
        files=lambda: _copied(of, container, observation.snapshot, tuple(mounts)),
        image=_with_name(engine, str(seen["Image"]), str(seen["Config"].get("Image") or "")),
        changes=lambda: engine.changes(container),
        mounts=tuple(sorted(mounts)),
    )


def _check_running(named: Named, seen: Mapping[str, Any]) -> None:
    state = seen.get("State") or {}
    name = str(seen.get("Name") or named.name).lstrip("/")
    if state.get("Paused"):
        raise TargetError(f"{named.shown} is paused", hint=f"docker unpause {name}")
    if not state.get("Running"):
        raise TargetError(
            f"{named.shown} is not running ({state.get('Status') or 'stopped'})",
            hint=f"Start it: docker start {name}\n"
            f"Or make an image of it: docker commit {name} NAME; and give image:NAME",
        )


def _with_name(engine: Engine, image_id: str, name: str) -> Mapping[str, Any] | None:
    """What the engine says of a container's image, and what that was called."""
    found = engine.inspect(image_id)
    return None if found is None else {**found, "Name": name}


# --- images ----------------------------------------------------------------------------------


def _image(engine: Engine, named: Named) -> dict[str, Any]:
    found = engine.inspect(named.name)
    if found is None:
        raise TargetError(
            f"{named.shown}: the engine at {engine.host} has no such image",
            hint=inside.similar(named.name, engine.image_names())
            or f"Get it first: docker pull {named.name}",
        )
    own, other = engine.platform(), str(found.get("Architecture") or "")
    if own and other and own != other:
        raise TargetError(
            f"{named.shown} is for {other}, and the engine at {engine.host} runs {own}",
            hint=f"Look at it on a machine of that kind, or pull it for {own}.",
        )
    return found


def _in_image(
    of: _Of, described: Mapping[str, Any], container: str, python: str, host: bool
) -> Reached:
    engine, named = of.engine, of.named
    environ = inside.variables((described.get("Config") or {}).get("Env") or [])
    found = _python(named, _looker(engine, container), environ, python)
    asked = inside.question(environ, first_process=False, host=host)
    argv = asked.argv(found)
    output = engine.run_probe(str(described["Id"]), argv, environment=inside.quiet(environ))
    observation = inside.answer(asked, output, named, found)
    return Reached(
        named=named,
        python=found,
        observation=observation,
        environ=environ,
        files=lambda: _copied(of, container, observation.snapshot, ()),
        image={**described, "Name": named.name},
    )


def _python(named: Named, look: inside.Look, environ: Mapping[str, str], python: str) -> str:
    if named.python is None and python.startswith("/") and look(python) == "program":
        return python
    return inside.find_python(named, look, environ)


def _looker(engine: Engine, container: str) -> inside.Look:
    def look(path: str) -> What | None:
        for _ in range(_LINKS):
            found = engine.stat(container, path)
            if found is None:
                return None
            mode = int(found.get("mode") or 0)
            if not mode & _GO_SYMLINK:
                break
            path = str(found.get("linkTarget") or "")
        if mode & (_GO_SYMLINK | _GO_DIRECTORY):
            return "directory" if mode & _GO_DIRECTORY else None
        return "program" if mode & 0o111 else "file"

    return look


# --- their files -----------------------------------------------------------------------------


@contextlib.contextmanager
def _copied(of: _Of, container: str, snapshot: Snapshot, mounts: tuple[str, ...]) -> Iterator[Root]:
    """The files of a container in a directory, for as long as the block runs."""
    from envfreeze.resolve.laidout import lay_out
    from envfreeze.resolve.rootfs import Root

    scratch = of.context.cache.root / "scratch"
    with disk_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="envfreeze-", dir=scratch) as directory:
        place = Path(directory)
        with of.context.progress.task("files"), disk_errors(place):
            lay_out(of.engine.files(container), place)
            for path in _mounted(snapshot, mounts):
                real = Root(place).real(path)
                with contextlib.suppress(EngineError):  # What is not there is not copied.
                    lay_out(of.engine.files(container, real), place, real)
        yield Root(place)


def _mounted(snapshot: Snapshot, mounts: tuple[str, ...]) -> list[str]:
    """What of the environment lies in a mount, or what is mounted in the environment: an export
    of a container leaves mounts out."""
    facts = snapshot.interpreter
    needed = {facts.prefix, facts.base_prefix, facts.stdlib, facts.scripts}
    needed |= {site.path for site in snapshot.sites}
    needed |= {source.root for source in snapshot.sources if source.problem is None}
    found = set()
    for mount in mounts:
        for path in needed - {"/"}:
            if is_below(path, mount):
                found.add(path)
            elif is_below(mount, path):
                found.add(mount)
    # Once each, from the outside in.
    return sorted(p for p in found if not any(is_below(p, q) and p != q for q in found))


# --- unpacked roots --------------------------------------------------------------------------


def _in_root(named: Named, python: str, host: bool) -> Reached:
    from envfreeze.resolve.rootfs import Root
    from envfreeze.targets import rooted

    if named.python is not None and Path(f"{named.name}:{named.python}").is_dir():
        # A directory whose own name has ":/" in it.
        named = Named(kind=named.kind, name=f"{named.name}:{named.python}")
    rooted.check_root(named.name)
    root = Root(Path(named.name).absolute())
    found = _python(named, _root_looker(root), {}, python)
    _check_machine(named, root, found)
    environ = {"PATH": inside.PATH, "HOME": "/root"}
    asked = inside.question(environ, first_process=False, host=host)
    output = rooted.run(named.name, asked.argv(found), {**environ, **inside.quiet(environ)})
    return Reached(
        named=named,
        python=found,
        observation=inside.answer(asked, output, named, found),
        environ=environ,
        files=lambda: contextlib.nullcontext(root),
    )


def _root_looker(root: Root) -> inside.Look:
    def look(path: str) -> What | None:
        place = Path(root.host(root.real(path)))
        if place.is_symlink() or not place.exists():
            return None
        if place.is_dir():
            return "directory"
        return "program" if place.stat().st_mode & 0o111 else "file"

    return look


def _check_machine(named: Named, root: Root, python: str) -> None:
    import sys

    from envfreeze.resolve.elf import needs

    found, own = needs(root.at(python)), needs(sys.executable)
    if found is None or own is None or found.kind.machine == own.kind.machine:
        return
    if (found.kind.name, own.kind.name) != ("i386", "x86_64"):
        raise TargetError(
            f"{named.shown}: {python} is for {found.kind.name}, this machine is {own.kind.name}",
            hint="Look at it on a machine of that kind.",
        )
