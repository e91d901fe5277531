"""How an image is run: as which user, and whether it asks for a GPU. Pure.

Both builders say the same by it: the Dockerfile, and the configuration of an archive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from envfreeze.errors import UsageError
from envfreeze.model.lock import Lock

ID = "1000"
"""User and group, where nobody says otherwise: what the first person on a machine has."""
HOME = "/tmp"  # noqa: S108 - the one directory that any number may write to in any base
NAME = "python"
LINKS = "/usr/lib/envfreeze/bin"
"""``python`` and ``python3`` as links to the interpreter, where it is no venv's."""

_PRIVATE = "/root"
"""Mode 0700 in the images of Debian and Ubuntu: nobody else comes through. No Dockerfile can ask
its base for that, so that the archive, which could, does not either."""
_NUMBERS = re.compile(r"[0-9]{1,9}(:[0-9]{1,9})?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """What an environment needs of a GPU's driver."""

    cuda: str
    """The oldest CUDA API that the driver may serve: ``12.0``."""
    reason: str
    """What needs it, and how that is known: for a person, untrusted text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What was chosen, by a person or by what the lock needs."""

    user: str | None = None
    """``NAME``, ``UID``, ``UID:GID`` or ``root``; None: not root where that can be."""
    gpu: Gpu | None = None
    """None: nothing in the lock needs one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who a container of the image is."""

    name: str
    """As USER has it."""
    variables: dict[str, str]
    """What an entry in /etc/passwd would have told."""
    reason: str = ""
    """Why it is root, where nobody asked for that."""


def user(lock: Lock, wanted: str | None) -> User:
    """Whom the image runs as.

    :raises UsageError: *wanted* cannot be a user.
    """
    if wanted is None:
        place = next(_private(lock), None)
        if place is not None:
            reason = f"{_PRIVATE} is root's alone in most bases, and {place} is there"
            return User(name="root", variables={}, reason=reason)
        return User(name=f"{ID}:{ID}", variables={"HOME": HOME, "LOGNAME": NAME})
    if wanted == "root" or re.fullmatch(r"0+(:0+)?", wanted):
        return User(name="root", variables={})
    if _NUMBERS.fullmatch(wanted):
        return User(name=wanted, variables={"HOME": HOME, "LOGNAME": NAME})
    if _USER.fullmatch(wanted):
        return User(name=wanted, variables={})
    raise UsageError(
        f"--user {wanted!r} is not a user",
        hint="Write a number, UID:GID, root, or a name that the base image knows.",
    )


def _private(lock: Lock) -> Iterator[str]:
    """The paths of the environment that lie where only root comes through."""
    for path in _places(lock):
        if path == _PRIVATE or path.startswith(f"{_PRIVATE}/"):
            yield path


def _places(lock: Lock) -> Iterator[str]:
    """Where the environment lies; not each of its files, but what they lie below."""
    machine = lock.machine
    facts = machine.interpreter.facts
    yield from (facts.prefix, facts.base_executable, facts.stdlib)
    yield from (facts.executable, facts.scripts, facts.purelib, facts.platlib)
    yield from (lock.site_of(package) for package in [*lock.packages, *machine.shadowed])
    yield from (site.site for site in machine.loose)
    for source in machine.sources:
        yield from (source.root, *source.spellings)
    if machine.system.unowned is not None:
        yield from (f"/{entry.path}" for entry in machine.system.unowned.files)
    yield from machine.system.library_path


def gpu_variables(gpu: Gpu | None) -> dict[str, str]:
    """What NVIDIA's container runtime reads (its documentation, "Environment variables (OCI
    spec)"): without them no GPU comes into the container, even where there is one."""
    if gpu is None:
        return {}
    return {
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        "NVIDIA_REQUIRE_CUDA": f"cuda>={gpu.cuda}",
    }
