"""What makes two environments the same: digests over canonical forms.

The same distributions, byte for byte and with the same executable bits, give the same id on any
machine and whichever installer placed them (uv sets the bit on a few files on which pip does not:
:func:`envfreeze.resolve.compare.gives_bit`). Paths of the capture, the kind of proof, compilers
and the like are recorded in a lock but stay outside.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from envfreeze.errors import LockError
from envfreeze.model.conda import CondaPackage
from envfreeze.model.lock import Lock, LooseEntry, LooseSite, Package, SystemLayer, Unproved
from envfreeze.model.snapshot import CondaRecord, Dist, Interpreter, LooseFile, Row, SourceFile

INSTALLER_FILES = frozenset(
    {
        "RECORD",
        "RECORD.jws",
        "RECORD.p7s",
        "INSTALLER",
        "REQUESTED",
        "direct_url.json",
        "provenance_url.json",
        "uv_cache.json",
        "uv_build.json",
    }
)
"""Files in a dist-info directory that the installer writes, not the wheel
(packaging.python.org "recording-installed-packages"; the last two are uv's)."""


def normalize(name: str) -> str:
    """The normalised project name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256_of_claim(claim: str) -> str | None:
    """The hex digest of a RECORD field ``sha256=BASE64URL``, or in hex as flit writes it where it
    installs by itself; None for anything else."""
    algorithm, _, text = claim.partition("=")
    if algorithm != "sha256":
        return None
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return text.lower()
    try:
        raw = base64.b64decode(text.rstrip("=") + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 32 else None


def is_bytecode(path: str) -> bool:
    """Whether *path* is a compiled file beside its source (PEP 3147), made anew at any time."""
    return "__pycache__/" in path and path.endswith((".pyc", ".pyo"))


def owned_rows(dist: Dist) -> list[Row]:
    """The rows that came out of the wheel: not the installer's own files, wrappers or .pyc.

    Asked of each file of an environment, tens of thousands of times.
    """
    scripts, info = set(dist.wrappers), dist.info
    own = {f"{info}/{name}" for name in INSTALLER_FILES} | {_virtualenv_marker(info)}
    return [
        row
        for row in dist.rows or ()
        if not (_is_made_here(row, own) if row.scheme == "site" else _is_installers(row, scripts))
    ]


def _is_made_here(row: Row, own: set[str]) -> bool:
    return row.path in own or (
        row.path.endswith((".pyc", ".pyo", "/__pycache__"))
        and (is_bytecode(row.path) or _is_bytecode_in_name(row))
    )


def _is_installers(row: Row, wrappers: set[str]) -> bool:
    if row.scheme == "scripts":
        return row.path in wrappers or versioned_wrapper(row.path, wrappers) is not None
    return row.scheme == "outside"


def wrappers(dist: Dist) -> list[Row]:
    """The rows of the scripts that the installer made of entry points, where they are there."""
    names = set(dist.wrappers)
    return [
        row
        for row in dist.rows or ()
        if row.scheme == "scripts"
        and row.sha256 is not None
        and (row.path in names or versioned_wrapper(row.path, names) is not None)
    ]


def is_virtualenv_marker(row: Row, info: str) -> bool:
    """Whether *row* is the empty ``pip-26.3.virtualenv`` that virtualenv adds to what it seeds
    (pypa/virtualenv: ``src/virtualenv/seed/embed/via_app_data/pip_install/base.py``)."""
    return row.scheme == "site" and row.path == _virtualenv_marker(info)


def _virtualenv_marker(info: str) -> str:
    return info.removesuffix(".dist-info") + ".virtualenv"


def _is_bytecode_in_name(row: Row) -> bool:
    """virtualenv's RECORD rows of bytecode, which lies elsewhere if anywhere: ``a.cpython-311.pyc``
    beside the source, and the directories ``__pycache__`` (``pip_install/copy.py`` there)."""
    return row.size is None and row.claim == "" and row.path.endswith((".pyc", "/__pycache__"))


def versioned_wrapper(script: str, wrappers: Iterable[str]) -> str | None:
    """The wrapper that *script* is a copy of, or None.

    pip makes ``pip3.11`` and ``easy_install-3.6`` besides what entry_points.txt names
    (pypa/pip: ``src/pip/_internal/operations/install/wheel.py``).
    """
    match = re.fullmatch(r"(pip|easy_install)-?3?(\.\d+)?", script)
    return match[1] if match and match[1] in wrappers else None


def tree_digest(files: Iterable[tuple[str, str]]) -> str:
    """sha256 over ``(scheme/path, word)`` pairs in any order: the content of a distribution."""
    digest = hashlib.sha256()
    for path, sha256 in sorted(set(files)):
        digest.update(f"{path}\0{sha256}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


NOT_EXECUTABLE = "not executable"


def file_word(row: Row) -> str | None:
    """The digest of a file, and its mode where that is not the usual one; None: it is not there."""
    if row.sha256 is None or row.executable == (row.scheme == "scripts"):
        return row.sha256
    return f"{row.sha256} {'executable' if row.executable else NOT_EXECUTABLE}"


def dist_files(dist: Dist) -> list[tuple[str, str]]:
    """``(scheme/path, sha256 on disk)`` of the files that *dist* has and its wheel brought."""
    return [
        (f"{row.scheme}/{row.path}", row.sha256)
        for row in owned_rows(dist)
        if row.sha256 is not None
    ]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def interpreter_facts(facts: Interpreter) -> dict[str, Any]:
    """What two interpreters must share to count as the same one."""
    return {
        "implementation": facts.implementation,
        "version": facts.version,
        "soabi": facts.soabi,
        "platform": facts.platform,
        "free-threaded": facts.free_threaded,
        "debug": facts.debug,
    }


def interpreter_digest(facts: Interpreter) -> str:
    return _digest(interpreter_facts(facts))


def packages_digest(packages: Iterable[tuple[str, str, str | None]]) -> str:
    """Digest over ``(normalised name, raw version, tree)``."""
    return _digest(sorted(packages, key=repr))


def files_digest(sites: Iterable[LooseSite]) -> str:
    """Digest over the unowned files, wherever their site directory lies."""
    return _digest(
        sorted(
            [_place(site, entry), entry.sha256 or "", entry.link or "", entry.executable]
            for site in sites
            for entry in site.files
        )
    )


def _place(site: LooseSite, entry: LooseEntry) -> str:
    return entry.path if site.scheme == "site" else f"bin/{entry.path}"


def source_files(files: Iterable[SourceFile]) -> list[tuple[str, str]]:
    """``(path, word for the content)`` of a source tree's files; an unreadable one has none."""
    return [
        (file.path, f"-> {file.link}" if file.link is not None else _content(file))
        for file in files
        if file.sha256 is not None or file.link is not None
    ]


def _content(file: SourceFile) -> str:
    return f"{file.sha256}{' executable' if file.executable else ''}"


def source_digest(files: Iterable[tuple[str, str]]) -> str:
    """sha256 over the files of a source tree, as :func:`source_files` words them."""
    return tree_digest(files)


def sources_digest(sources: Iterable[tuple[str, str | None]]) -> str:
    """Digest over ``(key, digest)`` of the source trees that are kept."""
    return _digest(sorted([key, digest] for key, digest in sources if digest is not None))


def system_digest(system: SystemLayer) -> str:
    """Digest over what of the system the environment needs, however it is kept."""
    # It is the same package whether its file or the base image brings it.
    debian = [[p.name, p.arch, p.version] for p in system.packages]
    rows: list[list[str]] = sorted([*debian, *([p.name, p.arch, p.version] for p in system.held)])
    rows += sorted([p.name, p.arch, p.version, p.identity or ""] for p in system.named)
    if system.unowned is not None:
        rows += sorted([f"/{f.path}", f.sha256 or f"-> {f.link}"] for f in system.unowned.files)
    return _digest(rows)


def environment_id(layers: dict[str, str]) -> str:
    """The environment's id: the digest over the digests of its layers."""
    return _digest(layers)


def lock_layers(lock: Lock) -> dict[str, str]:
    """The digest of each layer, computed from what *lock* says of it."""
    machine = lock.machine
    packages = [_identity(package) for package in lock.packages]
    held = {behind: _held(machine.held, behind) for behind in (False, True)}
    packages += held[False]
    lost = {shadowed: _lost(machine.unproved, shadowed) for shadowed in (False, True)}
    packages += lost[False]
    layers = {
        "files": files_digest(machine.loose),
        "interpreter": interpreter_digest(machine.interpreter.facts),
        "packages": packages_digest(packages),
        "system": system_digest(machine.system),
    }
    layers |= rare_layers(
        shadowed=[*map(_identity, machine.shadowed), *held[True], *lost[True]],
        sources=[(source.key, source.digest) for source in machine.sources],
    )
    if machine.conda is not None:
        loose = machine.conda.loose
        layers["conda"] = conda_digest(machine.conda.packages, loose.files if loose else [])
    return layers


def _held(packages: list[Package], behind: bool) -> list[tuple[str, str, str | None]]:
    return [_identity(package) for package in packages if package.facts.behind is behind]


def _lost(unproved: list[Unproved], shadowed: bool) -> list[tuple[str, str, str | None]]:
    return [
        (normalize(one.name), one.version, one.tree)
        for one in unproved
        if one.tree is not None and one.shadowed is shadowed
    ]


def rare_layers(
    *, shadowed: list[tuple[str, str, str | None]], sources: list[tuple[str, str | None]]
) -> dict[str, str]:
    """The layers that few environments have: they are there only where something is in them."""
    layers = {}
    if shadowed:
        layers["shadowed"] = packages_digest(shadowed)
    if any(digest is not None for _, digest in sources):
        layers["sources"] = sources_digest(sources)
    return layers


def conda_digest(
    packages: Iterable[CondaPackage | CondaRecord], files: Iterable[LooseEntry | LooseFile]
) -> str:
    """Digest over conda's packages, each with its files, and the files that none owns; channels
    and proofs stay outside."""
    return _digest(
        [
            sorted([p.name, p.version, p.build, p.tree] for p in packages),
            sorted([f.path, f.sha256 or "", f.link or "", f.executable] for f in files),
        ]
    )


def _identity(package: Package) -> tuple[str, str, str | None]:
    facts = package.facts
    return package.name, facts.version or package.version or "", facts.tree


def check_identity(lock: Lock, source: str) -> None:
    """See that a lock is whole: its digests are those of what it says.

    :raises LockError: it was edited by hand, merged badly, or cut short.
    """
    machine = lock.machine
    layers = lock_layers(lock)
    names = {*layers, *machine.layers}
    wrong = sorted(name for name in names if machine.layers.get(name) != layers.get(name))
    if wrong or machine.id != environment_id(machine.layers):
        said = f"its layer {', '.join(wrong)}" if wrong else "its id"
        raise LockError(
            f"{source} contradicts itself: {said} is not what the digest in it says",
            hint="It was edited, merged badly or cut short; restore it or capture again.",
        )
