"""A lock as seen from the base image that it rests on: what has to be placed there. Pure."""

from __future__ import annotations

import msgspec

from envfreeze.model.lock import Lock, LooseEntry, LooseSite, Machine, UnownedFiles


def on_base(lock: Lock) -> Lock:
    """*lock* without what its base image has; its id and all that it says of itself stay.

    Not a lock to write: its digests are those of the whole.
    """
    machine = lock.machine
    sites = [_rest(site) for site in machine.loose]
    brought = [package for package in lock.packages if package.facts.in_base]
    behind = [package for package in machine.shadowed if package.facts.in_base]
    unowned = machine.system.unowned
    system = msgspec.structs.replace(
        machine.system, unowned=_unowned(unowned) if unowned is not None else None
    )
    rest = msgspec.structs.replace(
        machine,
        held=[*machine.held, *brought, *behind],
        loose=[site for site in sites if site.files],
        shadowed=[package for package in machine.shadowed if not package.facts.in_base],
        sources=[
            msgspec.structs.replace(source, archive=None) if source.in_base else source
            for source in machine.sources
        ],
        system=system,
    )
    return _with(lock, rest, [package for package in lock.packages if not package.facts.in_base])


def off_base(lock: Lock) -> Lock:
    """*lock* for another base image, where nothing rests on its own."""
    return _with(lock, msgspec.structs.replace(lock.machine, base=None), lock.packages)


def _with(lock: Lock, machine: Machine, packages: list) -> Lock:  # type: ignore[type-arg]
    tool = msgspec.structs.replace(lock.tool, envfreeze=machine)
    return msgspec.structs.replace(lock, packages=packages, tool=tool)


def _placed(files: list[LooseEntry]) -> list[LooseEntry]:
    return [entry for entry in files if not entry.in_base]


def _rest(site: LooseSite) -> LooseSite:
    return msgspec.structs.replace(site, files=_placed(site.files))


def _unowned(unowned: UnownedFiles) -> UnownedFiles | None:
    files = _placed(unowned.files)
    return msgspec.structs.replace(unowned, files=files) if files else None
