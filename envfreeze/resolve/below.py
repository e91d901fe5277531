"""The machine below an environment, for its lock: as it was seen, with who owns what of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from envfreeze.model.host import Host
from envfreeze.model.snapshot import Snapshot
from envfreeze.resolve import numerics, owners

Owners = Callable[[Sequence[str]], Mapping[str, str]]
"""Paths to the system packages that own them, ``dpkg libgomp1``; what nobody owns is left out."""


def described(snapshot: Snapshot, system: Owners) -> Host | None:
    """What a lock keeps of the machine; None: it was not looked at.

    A process is left out: it is another one each time, and what it had loaded is said of the
    libraries.
    """
    host = snapshot.host
    if host is None:
        return None
    if host.accelerator is not None:
        accelerator = owners.with_owners(host.accelerator, snapshot, system)
        host = msgspec.structs.replace(host, accelerator=accelerator)
    paths = [item.path for item in host.numerics.libraries] if host.numerics else []
    known = system(sorted(set(paths))) if paths else {}
    host = numerics.owned(msgspec.structs.replace(host, process=None), snapshot, known.get)
    return host if host != Host() else None
