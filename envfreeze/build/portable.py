"""A lock into a directory with a Dockerfile that needs only public URLs, and what has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from envfreeze.build import tree
from envfreeze.build.docker import Inputs, fill, whole_directory
from envfreeze.errors import ArtifactError
from envfreeze.model.lock import Artifact, Lock
from envfreeze.progress import Progress
from envfreeze.render import dockerfile, portable
from envfreeze.render.dockerfile import DockerOptions
from envfreeze.store import hash_file


def wanted(lock: Lock) -> Iterator[Artifact]:
    """The artifacts that have to be here to write the directory."""
    machine = lock.machine
    plain = {id(package) for package in portable.by_pip(lock)}
    for package in [*lock.packages, *machine.shadowed]:
        if id(package) not in plain:
            yield from package.artifacts
    pip = portable.pip_wheel(lock) if plain else None
    archives = [pip, machine.interpreter.archive, *(site.archive for site in machine.loose)]
    archives += [source.archive for source in machine.sources]
    archives.append(machine.system.unowned.archive if machine.system.unowned else None)
    yield from (archive for archive in archives if archive is not None)
    yield from (p.artifact for p in machine.system.packages if p.artifact.url is None)


def prepare(lock: Lock, options: DockerOptions, inputs: Inputs, dest: Path) -> Path:
    """Write the directory, whole or not at all.

    :raises UsageError: *dest* is there and is not an empty directory.
    :raises ArtifactError: a file is missing, or has other bytes than the lock names.
    """
    texts = portable.render(lock, options)
    with whole_directory(dest) as directory:
        fill(directory, texts, _binaries(lock), inputs)
        if hash_file(directory / dockerfile.LOCK)[0] != options.lock_sha256:
            raise ArtifactError(
                f"{inputs.lock_path} changed while it was exported", hint="Run it again."
            )
        inputs.place(directory / portable.ENVIRONMENT)
    return dest


def _binaries(lock: Lock) -> dict[str, str]:
    machine = lock.machine
    named = {sha256: name for name, sha256 in dockerfile.deb_files(lock).items()}
    packed = [p.artifact.sha256 for p in machine.system.packages if p.artifact.url is None]
    found = {named[sha256]: sha256 for sha256 in packed}
    if machine.interpreter.origin == "packed" and machine.interpreter.archive is not None:
        found[dockerfile.INTERPRETER] = machine.interpreter.archive.sha256
    pip = portable.pip_wheel(lock)
    if pip is not None and portable.by_pip(lock):
        found[f"{portable.PIP}/{pip.filename}"] = pip.sha256
    return found


def write_environment(
    lock: Lock, artifacts: Mapping[str, Path], path: Path, progress: Progress
) -> None:
    """Write what pip does not bring to the tar *path*, relative to ``/``."""
    plain = {id(package) for package in portable.by_pip(lock)}
    tree.write(lock, artifacts, path, progress, lambda package: id(package) not in plain)
