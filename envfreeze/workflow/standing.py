"""The files of a live environment that no distribution owns: interpreter, conda, system packages.

Read in a :class:`Root`. Each is called as it is in the archives of a lock
(:mod:`envfreeze.workflow.unpacking`), so that one can be held against the other.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envfreeze.diff.deep import Content
from envfreeze.errors import EnvfreezeError
from envfreeze.model.snapshot import CondaRecord, Interpreter
from envfreeze.resolve import condapack, interpreter
from envfreeze.resolve.dpkg import Dpkg
from envfreeze.resolve.rootfs import Root
from envfreeze.store import hash_file
from envfreeze.workflow.unpacking import (
    LIMIT,
    Entry,
    Listing,
    NotHereError,
    condas_name,
    link,
    pythons_names,
    without,
)


def of_interpreter(facts: Interpreter, root: Root) -> Listing:
    """The base interpreter's own files."""
    paths = [str(path) for path in interpreter.interpreter_files(facts, root=root)]
    names = pythons_names(paths, facts.stdlib)
    found = {names[path]: _entry(root.host(path)) for path in paths}
    return {name: entry for name, entry in found.items() if entry is not None}


def of_system(dpkg: Dpkg | None, name: str) -> Listing:
    """What the package *name*, ``name:arch``, has on the disk.

    :raises NotHereError: no database of dpkg has it.
    """
    package = dpkg.packages.get(name) if dpkg else None
    if dpkg is None or package is None:
        raise NotHereError(f"dpkg has no list of the files of {name} any more")
    found = {}
    for path in dpkg.files(package):
        entry = _entry(dpkg.root.host(dpkg.root.entry(dpkg.on_disk(package, path))))
        if entry is not None:
            found[path.lstrip("/")] = entry
    return found


def of_conda(record: CondaRecord, prefix: str, root: Root) -> Listing:
    """The files of a conda package, the prefix in them undone.

    :raises NotHereError: its record cannot be read.
    """
    place = condapack.Place(prefix=prefix, root=root)
    try:
        paths = condapack.installed(place, record)
    except EnvfreezeError as error:
        raise NotHereError(str(error)) from error
    odd = {path for path, _ in record.odd}
    found = {}
    for path in paths:
        key = condas_name(path.path)
        entry = _of_conda(place, path, known=path.path not in odd)
        if key is not None and entry is not None:
            found[key] = entry
    return found


def _of_conda(place: condapack.Place, path: Any, *, known: bool) -> Entry | None:
    host = place.host(path.path)
    plain = _entry(host, hashed=False)
    if plain is None or plain.word.startswith("-> "):
        return plain
    textual = path.placeholder is not None and not path.binary

    def bare() -> Content:
        if os.stat(host).st_size > LIMIT:  # noqa: PTH116
            return plain.read()
        data = condapack.bare(place, path)
        if textual:
            data = without(path.placeholder)(data)
        return Content(word=hashlib.sha256(data).hexdigest(), data=data, size=len(data))

    def read() -> Content:
        try:
            return bare()
        except (OSError, EnvfreezeError) as error:
            return Content(word="", problem=f"it cannot be read: {error}")

    # The probe has held the file against its record: what is not odd has the record's digest.
    word = path.sha256 if known and not textual else None
    return Entry(word or read().word, read)


def _entry(host: str, *, hashed: bool = True) -> Entry | None:
    """The file or link at *host*; None: there is none, or it is a directory or a device."""
    try:
        status = os.lstat(host)
        if stat.S_ISLNK(status.st_mode):
            return link(os.readlink(host))  # noqa: PTH115
        if not stat.S_ISREG(status.st_mode):
            return None
    except OSError:
        return None
    read = _reader(host, status.st_size)
    if not hashed:
        return Entry("", read)
    try:
        return Entry(hash_file(Path(host))[0], read)
    except OSError as error:
        said = f"it cannot be read: {error.strerror}"
        return Entry("", lambda: Content(word="", size=status.st_size, problem=said))


def _reader(host: str, size: int) -> Callable[[], Content]:
    def read() -> Content:
        if size > LIMIT:
            said = f"{size} bytes: too large to compare"
            return Content(word=hash_file(Path(host))[0], size=size, problem=said)
        try:
            with Path(host).open("rb") as file:
                data = file.read(LIMIT)
        except OSError as error:
            return Content(word="", size=size, problem=f"it cannot be read: {error.strerror}")
        return Content(word=hashlib.sha256(data).hexdigest(), data=data, size=len(data))

    return read
