"""The machine below an environment, for its lock: as it was seen, with who owns what of it."""

from __future__ import annotations

import msgspec

from envfreeze.model.host import Host
from envfreeze.model.snapshot import Snapshot
from envfreeze.resolve import owners


def described(snapshot: Snapshot, system: owners.SystemOwners) -> Host | None:
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
    host = owners.owned(msgspec.structs.replace(host, process=None), snapshot, system)
    return host if host != Host() else None
