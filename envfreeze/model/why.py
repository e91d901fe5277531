"""Why a package is in a lock. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from envfreeze.model.graph import Graph, Key, Node, Ways
from envfreeze.model.identity import normalize
from envfreeze.model.lock import Lock

MOST = 20
"""Ways that are told of one package."""


@dataclass(frozen=True, slots=True)
class Why:
    """One package of the name that was asked for, and what it is there for."""

    node: Node
    reasons: list[str]
    """Untrusted text, a line each."""
    ways: Ways


def why(lock: Lock, known: Graph, name: str) -> list[Why]:
    """Why *name* is in *lock*: a distribution, a conda package, a system package, or each of
    them. Empty: it is not."""
    keys: list[Key] = [("python", normalize(name)), ("conda", name), ("system", name)]
    if ("conda", name) not in known.nodes:
        keys[1] = ("conda", name.lower())
    return [
        Why(known.nodes[key], list(_reasons(lock, known, key)), known.ways(key, MOST))
        for key in keys
        if key in known.nodes
    ]


def _reasons(lock: Lock, known: Graph, key: Key) -> Iterator[str]:
    node = known.nodes[key]
    if node.asked:
        yield "it was asked for"
    if key[0] == "system":
        yield from _of_the_system(lock, known, key)
        return
    if known.needed_by[key]:
        return
    for needing, condition in known.offered_by.get(key, []):
        yield f"{needing[1]} would need it ({condition}); which extras were asked for is not known"
    if not node.asked:
        yield "nothing else in the lock needs it"


def _of_the_system(lock: Lock, known: Graph, key: Key) -> Iterator[str]:
    machine = lock.machine
    name = key[1]
    dists = [(one.name, one.facts.owner) for one in (*lock.packages, *machine.held)]
    dists += [(one.name, one.owner) for one in machine.loose_dists]
    brought = [dist for dist, owner in dists if _is(owner, name)]
    if brought:
        yield f"it brings distributions: {', '.join(sorted(brought))}"
    for need in machine.system.needs:
        if _is(need.package, name):
            yield f"the program {need.name} is called: {need.path}"
    host = machine.host
    numerics = host.numerics.libraries if host and host.numerics else []
    accelerator = host.accelerator.libraries if host and host.accelerator else []
    libraries = [(one.name, one.owner) for one in numerics]
    libraries += [(one.name, one.owner) for one in accelerator]
    for library in sorted({library for library, owner in libraries if _is(owner, name)}):
        yield f"{library} of it is used"
    if any(one.name == name for one in machine.system.others):
        yield f"it was kept besides ({machine.system.scope}): the environment does not need it"
    elif not known.needed_by[key]:
        yield (
            "the interpreter, the environment's libraries or programs need it; "
            "the lock does not say which of them"
        )


def _is(owner: str | None, name: str) -> bool:
    """Whether *owner* (``dpkg NAME VERSION``, or a name) is the package *name*."""
    return name in [word.partition(":")[0] for word in (owner or "").split()[:2]]
