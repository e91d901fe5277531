"""The lock of an environment that has not changed since it was captured here.

An earlier result is used only where all that it was made from is as it was: the probe's
fingerprint of the environment, the interpreter's own files, the system's libraries and
package lists, pip's settings, and what the caller asked for. It is looked up while the probe
still looks, so that a capture of an unchanged environment costs little more than the probe.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from envfreeze.errors import EnvfreezeError
from envfreeze.model.lock import Lock, Scope, artifacts, dumps
from envfreeze.model.snapshot import Interpreter
from envfreeze.program import program_stamp
from envfreeze.resolve.frozen import Frozen, still
from envfreeze.store import Cache, Sidecar

_KIND = "frozen"
_BELIEVED = 600
"""Seconds for which "no index has its wheel" is believed: what indexes themselves allow a cache
to keep their pages for (``Cache-Control: max-age=600``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was asked for, and where the packed bytes go."""

    cache: Cache
    sidecar: Sidecar
    offline: bool
    pack: bool
    settings: Callable[[Interpreter], str]
    """The fingerprint of the index settings that hold for an interpreter."""
    library_path: str = ""
    """LD_LIBRARY_PATH of the target."""
    scope: Scope = "needed"
    """Which packages of the system are kept."""


class _Note(msgspec.Struct, kw_only=True):
    lock: Lock
    found: int
    counts: dict[str, int]
    settings: str
    text: str
    watched: dict[str, str]
    below: str
    asked: int | None = None
    """When indexes were asked in vain, in seconds since 1970; None: nothing is left to ask."""

    @property
    def fresh(self) -> bool:
        return self.asked is None or 0 <= time.time() - self.asked < _BELIEVED


def _key(fingerprint: str, terms: Terms) -> str:
    asked = f"{program_stamp()} {fingerprint} {terms.offline} {terms.pack}"
    asked += f" {terms.sidecar.root.name} {terms.scope} {terms.library_path}"
    return hashlib.sha256(asked.encode("utf-8", "surrogateescape")).hexdigest()


def remember(fingerprint: str | None, frozen: Frozen, terms: Terms) -> None:
    """Keep *frozen*, unless the next try could come out better: an index was down, something is
    neither proved nor packed. What was packed because no wheel of it was found is looked for
    anew after :data:`_BELIEVED` seconds."""
    lock = frozen.lock
    tried = any(p.facts.evidence.startswith(("rebuilt", "brought")) for p in lock.packages)
    conda = lock.machine.conda
    tried = tried or any(
        p.proof != "proved" and (p.url or "").startswith("http")
        for p in (conda.packages if conda else [])
    )
    unproved = not terms.offline and lock.machine.unproved
    if fingerprint is None or frozen.problems or unproved:
        return
    facts = lock.machine.interpreter.facts
    note = _Note(
        lock=lock,
        text=dumps(lock),
        found=frozen.found,
        counts=dict(frozen.counts),
        settings=terms.settings(facts),
        watched=frozen.watched,
        below=frozen.below,
        asked=int(time.time()) if tried and not terms.offline else None,
    )
    terms.cache.write_note(_KIND, _key(fingerprint, terms), msgspec.json.encode(note))


def recall(fingerprint: str, terms: Terms) -> Frozen | None:
    """The result for this fingerprint, if it still holds."""
    data = terms.cache.read_note(_KIND, _key(fingerprint, terms))
    if data is None:
        return None
    try:
        note = msgspec.json.decode(data, type=_Note)
        facts = note.lock.machine.interpreter.facts
        holds = note.fresh and still(note.watched) and note.settings == terms.settings(facts)
    except (msgspec.MsgspecError, EnvfreezeError, OSError):
        return None
    packed = (artifact for artifact in artifacts(note.lock) if artifact.path is not None)
    if not holds or any(terms.cache.find(a.sha256, a.size) is None for a in packed):
        return None
    return Frozen(
        lock=note.lock,
        text=note.text,
        found=note.found,
        counts=Counter(note.counts),
        problems=[],
        watched=note.watched,
        below=note.below,
    )
