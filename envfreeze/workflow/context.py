"""What every command runs with: environment, cache, progress; locks and index settings."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from envfreeze.errors import CacheError, LockError
from envfreeze.model.snapshot import Interpreter
from envfreeze.progress import Progress
from envfreeze.store import Cache

if TYPE_CHECKING:
    from envfreeze.model.lock import Lock
    from envfreeze.resolve.index import Index
    from envfreeze.resolve.pipconf import IndexSettings
    from envfreeze.resolve.rootfs import Root

_Result = TypeVar("_Result")

ROOT = "0"
"""Whom an image is looked at as: nobody else may read all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every command runs with."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cache: Cache = field(default_factory=Cache)
    progress: Progress = field(default_factory=Progress)


def load(path: Path | str, cache: Cache | None = None) -> Lock:
    """Read a lock file.

    :param cache: where a large one is remembered as it was read and checked; None: nowhere.
    :raises LockError: it is not there, cannot be read, or is not a lock.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise LockError(
            f"{path}: no such file", hint="Make one first: envfreeze capture -o " + path.name
        ) from error
    except OSError as error:
        raise LockError(f"{path} cannot be read: {error.strerror}") from error
    return loaded(data, str(path), cache)


def loaded(data: bytes, source: str, cache: Cache | None = None) -> Lock:
    """The lock that *data* is.

    :param source: what it is called in an error.
    :param cache: see :func:`load`.
    :raises LockError: it is not a lock.
    """
    if cache is None:
        return _read(data, source)
    from envfreeze.workflow import remembered

    return remembered.lock(data, lambda: _read(data, source), cache)


def _read(data: bytes, source: str) -> Lock:
    # A capture starts its probe before it has to do with a lock.
    from envfreeze.model import lock as locks
    from envfreeze.model.identity import check_identity

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LockError(f"{source} is not a lock: it is not UTF-8 text") from error
    lock = locks.loads(text, source=source)
    check_identity(lock, source)
    return lock


def settings(facts: Interpreter, context: Context, root: Root | None = None) -> IndexSettings:
    """The indexes as pip of the target is configured to see them.

    :param root: where the files of a container or an unpacked root lie. It does not choose where
        this machine's credentials and certificates go: its pip.conf is passed over, and of its pip
        the default index alone is taken.
    """
    from envfreeze.resolve.pipconf import read_settings

    prefix = Path(facts.prefix) if root is None else None
    purelib = Path(facts.purelib if root is None else root.at(facts.purelib))
    return read_settings(environ=context.environ, prefix=prefix, pip_sources=[purelib])


def index(facts: Interpreter, context: Context, root: Root | None = None) -> Index:
    """A connection to the indexes of :func:`settings`."""
    from envfreeze.resolve.http import Http
    from envfreeze.resolve.index import Index

    chosen = settings(facts, context, root)
    return Index(chosen, Http(chosen))


def without_cache(
    work: Callable[[Context], _Result], context: Context
) -> tuple[_Result, list[str]]:
    """Do *work*, and what to say: with a temporary cache where the user's cannot be written."""
    try:
        return work(context), []
    except CacheError as error:
        said = f"{error}: done without the cache"
    with tempfile.TemporaryDirectory(prefix="envfreeze-") as place:
        return work(replace(context, cache=Cache(Path(place)))), [said]
