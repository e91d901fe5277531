"""A lock as if its environment had been found at another path. Pure.

Scripts, ``pyvenv.cfg``, ``.pth`` lines and ``direct_url.json`` are written from the lock's paths,
so they follow by themselves; so does the verification, which looks where the moved lock says.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

import msgspec

from envfreeze.errors import UsageError
from envfreeze.model.artifact import is_below
from envfreeze.model.lock import Lock, LooseEntry, LooseSite, Machine, Package, SourceTree
from envfreeze.model.snapshot import Interpreter

_PLAIN = re.compile(r"/[^\x00-\x1f\x7f-\x9f:$\\\"'\u2028\u2029\ud800-\udfff]+")
"""No ``:``, which PATH divides at, and nothing that a shell or a Dockerfile reads as more."""
_SYSTEM = frozenset(
    "bin boot dev etc lib lib32 lib64 libx32 proc run sbin sys tmp usr var".split()  # noqa: SIM905
)
"""Directories of ``/`` that are the base's, with everything below them."""
_LOCAL = re.compile(
    r"/usr/local/(?!(?:bin|etc|games|include|lib[0-9]*|man|sbin|share|src)(?:/|$)).+"
)
_SHARED = frozenset({"/home", "/media", "/mnt", "/opt", "/root", "/srv"})
"""What is in the first of these is the base's, too."""


def check_prefix(prefix: str) -> None:
    """Whether an environment may be placed at *prefix*.

    :raises UsageError: it may not.
    """
    problem = _problem(prefix)
    if problem is not None:
        raise UsageError(f"--prefix {prefix!r}: {problem}", hint="For example: --prefix /opt/venv")


def _problem(prefix: str) -> str | None:
    if not _PLAIN.fullmatch(prefix) or not prefix.isprintable():
        return "it is not an absolute path of plain letters"
    if posixpath.normpath(prefix) != prefix or prefix.startswith("//") or len(prefix) > 512:
        return "it is not spelt plainly: no . or .., no second or last /"
    if "/.wh." in prefix:
        return "an image would take it for something deleted"
    if prefix in _SHARED or (prefix.split("/")[1] in _SYSTEM and not _LOCAL.fullmatch(prefix)):
        return "that place is the system's own"
    return None


def moved(lock: Lock, prefix: str) -> Lock:
    """*lock* with its virtual environment at *prefix*; its id and what it packs stay.

    :raises UsageError: it is no virtual environment, or something else is there, or the base image
        holds a part of it.
    """
    check_prefix(prefix)
    facts = lock.machine.interpreter.facts
    old = facts.prefix.rstrip("/")
    if not facts.venv:
        raise UsageError(
            f"--prefix {prefix}: the lock's environment is its interpreter's own, at {old or '/'},"
            " and only a virtual one can be placed elsewhere",
            hint="Leave --prefix out.",
        )
    if prefix == old:
        return lock
    _check_held(lock, old)
    _check_free(lock, old, prefix)
    return _Move(old, prefix).lock(lock)


def _check_held(lock: Lock, old: str) -> None:
    """The base image has what it has where it has it."""
    machine = lock.machine
    names = [p.name for p in machine.held if is_below(lock.site_of(p), old)]
    files = any(e.in_base for site in machine.loose if is_below(site.site, old) for e in site.files)
    trees = any(s.in_base and is_below(s.root, old) for s in machine.sources)
    if names or files or trees:
        what = ", ".join(names[:5]) or "files that no distribution owns"
        raise UsageError(
            f"--prefix: the base image alone has a part of the environment, at {old}: {what}",
            hint="Leave --prefix out, or capture again with --pack-base.",
        )


def _check_free(lock: Lock, old: str, prefix: str) -> None:
    for place, what in _others(lock, old):
        if is_below(place, prefix) or is_below(prefix, place):
            raise UsageError(
                f"--prefix {prefix}: {place} is {what}", hint="Name a directory of its own."
            )


def _others(lock: Lock, old: str) -> Iterator[tuple[str, str]]:
    """What lies outside the environment, and stays where it was."""
    machine = lock.machine
    facts = machine.interpreter.facts
    if facts.base_prefix not in {"/", "/usr", "/usr/local"}:
        yield facts.base_prefix, "where the interpreter is"
    for source in machine.sources:
        for root in (source.root, *source.spellings):
            if root != "/" and not is_below(root, old):
                yield root, "where a source tree is"
    for site in {*machine.sites, *(lock.site_of(package) for package in lock.packages)}:
        if not is_below(site, old):
            yield site, "where more packages are"
    if machine.system.unowned is not None:
        for entry in machine.system.unowned.files:
            yield f"/{entry.path}", "a file of the lock that no package owns"


class _Move:
    """Paths below one directory into those below another."""

    def __init__(self, old: str, new: str) -> None:
        self._old = old
        self._new = new

    def _path(self, path: str) -> str:
        return self._new + path[len(self._old) :] if is_below(path, self._old) else path

    def _list(self, text: str) -> str:
        """Of a variable: each of its entries that is such a path."""
        return ":".join(map(self._path, text.split(":")))

    def lock(self, lock: Lock) -> Lock:
        shadowed = [self._package(one, lock.site_of(one)) for one in lock.machine.shadowed]
        machine = msgspec.structs.replace(self._machine(lock.machine), shadowed=shadowed)
        tool = msgspec.structs.replace(lock.tool, envfreeze=machine)
        packages = [self._package(one, lock.site_of(one)) for one in lock.packages]
        return msgspec.structs.replace(lock, packages=packages, tool=tool)

    def _machine(self, machine: Machine) -> Machine:
        layer = machine.interpreter
        paths = [self._path(one) for one in machine.system.library_path]
        base = machine.base
        return msgspec.structs.replace(
            machine,
            interpreter=msgspec.structs.replace(layer, facts=self._facts(layer.facts)),
            system=msgspec.structs.replace(machine.system, library_path=paths),
            environment={name: self._list(text) for name, text in machine.environment.items()},
            base=None if base is None else msgspec.structs.replace(base, venv=False),
            loose=[self._site(one) for one in machine.loose],
            sites=[self._path(one) for one in machine.sites],
            sources=[self._source(one) for one in machine.sources],
            pythonpath=[self._path(one) for one in machine.pythonpath],
        )

    def _facts(self, facts: Interpreter) -> Interpreter:
        return msgspec.structs.replace(
            facts,
            executable=self._path(facts.executable),
            prefix=self._path(facts.prefix),
            purelib=self._path(facts.purelib),
            platlib=self._path(facts.platlib),
            scripts=self._path(facts.scripts),
        )

    def _package(self, package: Package, site: str) -> Package:
        """What the base has at the old place is placed at the new one."""
        stays = not is_below(site, self._old)
        facts = msgspec.structs.replace(
            package.facts,
            site=self._path(package.facts.site) if package.facts.site else None,
            in_base=package.facts.in_base and stays,
        )
        tool = msgspec.structs.replace(package.tool, envfreeze=facts)
        return msgspec.structs.replace(package, tool=tool)

    def _site(self, site: LooseSite) -> LooseSite:
        files = [self._entry(one) for one in site.files]
        return msgspec.structs.replace(site, site=self._path(site.site), files=files)

    def _entry(self, entry: LooseEntry) -> LooseEntry:
        if entry.link is None:
            return entry
        return msgspec.structs.replace(entry, link=self._path(entry.link))

    def _source(self, source: SourceTree) -> SourceTree:
        return msgspec.structs.replace(
            source,
            root=self._path(source.root),
            spellings=[self._path(one) for one in source.spellings],
        )
