"""What was seen inside an image beside its distributions, against the lock. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping

import msgspec

from envfreeze.diff.compare import Change
from envfreeze.model.identity import tree_digest
from envfreeze.model.lock import Lock


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What :mod:`envfreeze.probe.inside` answers: untrusted, as all that a target says."""

    own: list[tuple[str, str | None]]
    """The interpreter's own files, ``(path, word for the content)``; None: not readable."""
    configuration: list[tuple[str, str | None]]
    files: dict[str, str | None]
    environment: dict[str, str | None]
    python: str | None
    """Where PATH leads for ``python``."""
    real: str
    """The same, links resolved."""
    wanted: str
    """The interpreter of the lock, links resolved in there."""


def changes(lock: Lock, inside: Inside, variables: Mapping[str, str]) -> Iterator[Change]:
    """Each way in which it is not what the lock says.

    :param variables: the environment variables that an image of the lock has.
    """
    yield from _interpreter(lock, inside)
    yield from _files(lock, inside)
    for name, wanted in sorted(variables.items()):
        found = inside.environment.get(name)
        if found != wanted:
            yield _changed("environment", name, wanted, "not set" if found is None else found)


def _interpreter(lock: Lock, inside: Inside) -> Iterator[Change]:
    """Its files by their digest. What system packages brought may lie beside more of the same
    packages in an image, and there the packages' versions are what is asserted."""
    layer = lock.machine.interpreter
    if layer.files is None:
        return
    own = _digest(inside.own)
    candidates = {own, _digest(inside.own + inside.configuration)}
    if layer.files in candidates:
        return
    if layer.origin in {"packed", "conda"}:
        yield _changed("interpreter", "its own files", layer.files[:12], (own or "none")[:12])
    else:
        yield Change(
            layer="interpreter",
            kind="unknown",
            name="its own files",
            note="system packages bring them: their versions are compared, not each file",
        )


def _digest(rows: list[tuple[str, str | None]]) -> str | None:
    known = [(path, word) for path, word in rows if word is not None]
    return tree_digest(known) if len(known) == len(rows) else None


def _files(lock: Lock, inside: Inside) -> Iterator[Change]:
    for path, wanted in unowned(lock).items():
        found = inside.files.get(path)
        if found != wanted:
            yield _changed("system", path, _short(wanted), _short(found or "not there"))


def unowned(lock: Lock) -> dict[str, str]:
    """The files outside the environment that no system package owns, each with its content."""
    kept = lock.machine.system.unowned
    entries = kept.files if kept is not None else []
    return {f"/{e.path}": e.sha256 if e.link is None else f"-> {e.link}" for e in entries}  # type: ignore[misc]


def _short(word: str) -> str:
    return word if word.startswith(("->", "not")) else word[:12]


def python(lock: Lock, inside: Inside) -> Iterator[Change]:
    """Whether ``python`` on PATH is the interpreter of the lock."""
    facts = lock.machine.interpreter.facts
    right = inside.python is not None and inside.real == inside.wanted
    if right and facts.venv:  # Two venvs of one interpreter are told apart by the directory.
        right = posixpath.dirname(inside.python or "") == posixpath.dirname(facts.executable)
    if not right:
        yield _changed("environment", "python on PATH", facts.executable, inside.python or "none")


def _changed(layer: str, name: str, before: str, after: str) -> Change:
    return Change(layer=layer, kind="changed", name=name, before=before, after=after)  # type: ignore[arg-type]
