"""``envfreeze export``: a lock in the words of other tools."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from envfreeze.errors import NotHermeticError, UsageError
from envfreeze.model.lock import Lock
from envfreeze.model.words import plural
from envfreeze.store import disk_errors, old_digest, open_artifact, write_atomic
from envfreeze.workflow.basing import ImageOptions
from envfreeze.workflow.building import check_complete, check_without_conda
from envfreeze.workflow.context import Context, load
from envfreeze.workflow.fetching import fetch
from envfreeze.workflow.imaging import docker_options

CONDA_FORMATS = ("conda-explicit", "conda-lock", "environment", "pixi")
SBOM_FORMATS = ("cyclonedx", "spdx")
FORMATS = ("dockerfile", "requirements", "pylock", *CONDA_FORMATS, *SBOM_FORMATS)
SMALL = 50_000_000
"""Bytes of a file that may lie in a repository: from here on the usual hosts complain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    place: str
    notes: list[str]
    """What a person should know of it, a line each; untrusted text."""


def export(
    lock_path: Path, kind: str, into: Path, options: ImageOptions, context: Context, strict: bool
) -> Exported:
    """Write *lock_path* as *kind* to *into*.

    :param strict: fail where something has no public URL.
    :raises UsageError: there is no such format, or *into* does not suit it.
    :raises NotHermeticError: *strict*, and something has none.
    """
    lock = load(lock_path)
    if kind == "dockerfile":
        return _dockerfile(lock, lock_path, into, options, context, strict)
    if kind == "requirements":
        return _requirements(lock, lock_path, into, strict)
    if kind == "pylock":
        return _pylock(lock, lock_path, into, strict)
    if kind in CONDA_FORMATS:
        return _conda(lock, lock_path, kind, into, strict)
    if kind in SBOM_FORMATS:
        return _sbom(lock, lock_path, kind, into, strict)
    raise UsageError(f"--format {kind}: not a format", hint=", ".join(FORMATS))


def _dockerfile(
    lock: Lock, lock_path: Path, into: Path, options: ImageOptions, context: Context, strict: bool
) -> Exported:
    from envfreeze.build import portable
    from envfreeze.build.docker import Inputs
    from envfreeze.render.portable import beside, render

    check_complete(lock)
    check_without_conda(lock, "a Dockerfile")
    found = beside(lock)
    rows = [f"{one.file}: {one.what}, {_size(one.size)}" for one in found]
    if strict and found:
        raise _no_url(rows)
    sizes: dict[str, int] = {}
    for one in found:
        sizes[one.file] = sizes.get(one.file, 0) + one.size
    large = sorted(file for file, size in sizes.items() if size > SMALL)
    if large:
        named = "\n".join(f"  {row}" for row in rows if row.partition(":")[0] in large)
        raise UsageError(
            f"{', '.join(large)}: too large for a repository. Without a public URL:\n{named}",
            hint="envfreeze build LOCK --to docker --render-only DIR writes a context of any size.",
        )
    chosen = docker_options(lock, lock_path, options, context)
    render(lock, chosen)  # What cannot be written is refused before anything is fetched.
    files = fetch(lock, lock_path, list(portable.wanted(lock)), options.offline, context)
    inputs = Inputs(
        lock_path=lock_path,
        files=files,
        place=lambda path: portable.write_environment(lock, files, path, context.progress),
    )
    portable.prepare(lock, chosen, inputs, into)
    return Exported(place=str(into / "Dockerfile"), notes=[f"no public URL: {row}" for row in rows])


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{max(1, count // 1000)} kB"


def _no_url(
    rows: list[str], hint: str = "Leave out --strict, and it is written beside."
) -> NotHermeticError:
    return NotHermeticError(
        "this has no public URL:\n" + "\n".join(f"  {row}" for row in rows),
        hint=hint,
    )


def _requirements(lock: Lock, lock_path: Path, into: Path, strict: bool) -> Exported:
    from envfreeze.render import portable

    packed = [p.name for p in lock.packages if p.artifact.url is None]
    if strict and packed:
        raise _no_url(packed)
    _check_file(into)
    directory = relpath(lock_path.absolute().parent, into.absolute().parent)
    text = portable.requirements(lock, "." if directory == "." else directory)
    with disk_errors(into):
        write_atomic(into, text.encode("utf-8"))
    return Exported(place=str(into), notes=_lost(lock))


def _lost(lock: Lock) -> list[str]:
    from envfreeze.render import portable

    found = [f"{name}: {why}" for name, why in portable.left_out(lock).items()]
    count = len(lock.machine.conda.packages) if lock.machine.conda else 0
    return [*found, f"{plural(count, 'conda package')}: left out"] if count else found


def _md5s(lock: Lock, lock_path: Path) -> dict[str, str]:
    """The md5 of each conda package that is packed beside the lock: conda-lock knows by that."""
    layer = lock.machine.conda
    found = {}
    for artifact in [package.artifact for package in (layer.packages if layer else [])]:
        if artifact is not None and artifact.path is not None:
            found[artifact.sha256] = old_digest(open_artifact(lock_path, artifact), "md5")
    return found


def _conda(lock: Lock, lock_path: Path, kind: str, into: Path, strict: bool) -> Exported:
    from envfreeze.render import conda

    notes = [f"{name}: {why}" for name, why in conda.left_out(lock, kind).items()]
    if strict and notes:
        raise _no_url(notes)
    _check_file(into)
    directory = relpath(lock_path.absolute().parent, into.absolute().parent)
    beside = conda.Beside(directory=directory, md5=_md5s(lock, lock_path))
    if kind == "conda-explicit":
        text = conda.explicit(lock, beside)
    elif kind == "conda-lock":
        text = conda.conda_lock(lock, lock_path.name, beside)
    elif kind == "environment":
        text = conda.environment(lock, lock_path.stem)
    else:
        text = conda.pixi(lock, beside)
    with disk_errors(into):
        write_atomic(into, text.encode("utf-8"))
    return Exported(place=str(into), notes=notes)


def _sbom(lock: Lock, lock_path: Path, kind: str, into: Path, strict: bool) -> Exported:
    """A bill of materials."""
    from envfreeze.render import cyclonedx, sbom, spdx
    from envfreeze.resolve import pipconf

    _check_file(into)
    index = pipconf.default_index(())
    bom = sbom.bom(lock, lock_path.stem, index)
    kept = [f"{one.name} {one.version}" for one in bom.components if one.artifact and not one.url]
    if strict and kept:
        raise _no_url(kept, "Leave out --strict, and they are named all the same.")
    text = cyclonedx.document(bom) if kind == "cyclonedx" else spdx.document(bom)
    with disk_errors(into):
        write_atomic(into, text)
    notes = []
    unnamed = sum(
        one.key[0] in {"python", "conda"} and not (one.expression or one.licence)
        for one in bom.components
    )
    if unnamed:
        notes.append(f"{plural(unnamed, 'package')}: the lock does not name the licence")
    return Exported(place=str(into), notes=notes)


def _pylock(lock: Lock, lock_path: Path, into: Path, strict: bool) -> Exported:
    """The lock is one; only its name has to be another, and its paths must still lead there."""
    packed = [p.name for p in lock.packages if p.artifact.path is not None]
    if strict and packed:
        raise _no_url(packed)
    _check_file(into)
    if into.name != "pylock.toml" and not (
        into.name.startswith("pylock.") and into.name.endswith(".toml")
    ):
        raise UsageError(
            f"{into.name} is not what PEP 751 calls such a file",
            hint="pylock.toml, or pylock.NAME.toml",
        )
    if packed and into.absolute().parent.resolve() != lock_path.absolute().parent.resolve():
        raise UsageError(
            f"{', '.join(packed[:5])}: packed beside the lock, which their paths are relative to",
            hint=f"Write it there: --output {lock_path.parent / into.name}",
        )
    with disk_errors(into):
        write_atomic(into, lock_path.read_bytes())
    return Exported(place=str(into), notes=_lost(lock))


def _check_file(into: Path) -> None:
    if into.is_dir():
        raise UsageError(f"{into} is a directory", hint="Name a file to write.")
