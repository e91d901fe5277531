"""A lock and its fetched artifacts into a build context, and that into an image."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from envfreeze.build import buildx, whereabouts
from envfreeze.build.engine import BuildRequest, Engine
from envfreeze.build.said import OnLine
from envfreeze.errors import ArtifactError, EngineError, UsageError
from envfreeze.model.lock import Lock
from envfreeze.render import dockerfile
from envfreeze.render.dockerfile import DockerOptions
from envfreeze.store import CHUNK, disk_errors, hash_file

Place = Callable[[Path], None]
"""Writes ``packages.tar``, the environment's tree relative to ``/``, to the path it is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a context is made from, beside the lock."""

    lock_path: Path
    files: Mapping[str, Path]
    """sha256 to the file with these bytes: at least every .deb and the interpreter."""
    place: Place


def prepare(lock: Lock, options: DockerOptions, inputs: Inputs, dest: Path) -> Path:
    """Write the build context of *lock* to *dest*, whole or not at all.

    :raises UsageError: *dest* is there and is not an empty directory.
    :raises ArtifactError: a file is missing, or has other bytes than the lock names.
    """
    texts = dockerfile.render(lock, options)
    with whole_directory(dest) as directory:
        fill(directory, texts, _binaries(lock), inputs)
        if hash_file(directory / dockerfile.LOCK)[0] != options.lock_sha256:
            raise ArtifactError(
                f"{inputs.lock_path} changed while it was built from", hint="Run it again."
            )
        inputs.place(directory / dockerfile.PACKAGES)
        _finish_sums(directory)
    return dest


def fill(
    directory: Path, texts: Mapping[str, str], binaries: Mapping[str, str], inputs: Inputs
) -> None:
    """Write *texts* by their paths below *directory*, *binaries* (path to sha256), and the lock.

    :raises ArtifactError: a file is missing, or has other bytes than its digest says.
    """
    for name, text in texts.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")
    for name, sha256 in binaries.items():
        copy_checked(inputs.files, sha256, directory / name)
    shutil.copyfile(inputs.lock_path, directory / dockerfile.LOCK)


def build_image(
    engine: Engine, context: Path, options: DockerOptions, on_line: OnLine = lambda _line: None
) -> str:
    """Build the image of a prepared context, with the base at hand; its image id.

    By ``docker buildx`` where that is installed, else by the engine's classic builder.
    """
    engine.base_by_digest(options.base)
    environ = _for_buildx(engine, options.base)
    program = buildx.program(environ) if environ is not None else None
    if environ is None or program is None:
        return engine.build(BuildRequest(context=context, tag=options.tag), on_line)
    buildx.build(buildx.command(program, context, options.tag), options.tag, environ, on_line)
    found = engine.inspect(options.tag)
    if found is None:
        raise EngineError(
            f"docker buildx built {options.tag}, and the engine at {engine.host} does not have it",
            hint="Is its builder (docker buildx ls) one of that engine?",
        )
    return str(found["Id"])


def _for_buildx(engine: Engine, base: str) -> dict[str, str] | None:
    """The environment in which the docker CLI finds *engine*; None: BuildKit cannot build there.

    Podman has no BuildKit, and that takes no base that has an id and no name.
    """
    if engine.is_podman or base.startswith("sha256:"):
        return None
    chosen = whereabouts.is_chosen(os.environ)
    return {**os.environ} if chosen else {**os.environ, "DOCKER_HOST": engine.host}


def _binaries(lock: Lock) -> dict[str, str]:
    """Path in the context to sha256 of what is copied into it."""
    found = dockerfile.deb_files(lock)
    layer = lock.machine.interpreter
    if layer.origin == "packed" and layer.archive is not None:
        found[dockerfile.INTERPRETER] = layer.archive.sha256
    return found


def copy_checked(files: Mapping[str, Path], sha256: str, target: Path) -> None:
    """Copy a file of that digest, and see that it has it: the cache is no authority."""
    source = files.get(sha256)
    if source is None:
        raise ArtifactError(f"{target.name} ({sha256}) was not fetched")
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(CHUNK):
            digest.update(block)
            writer.write(block)
    if digest.hexdigest() != sha256:
        raise ArtifactError(
            f"{source} is not {target.name} as the lock names it\n"
            f"expected sha256 {sha256}\n     got sha256 {digest.hexdigest()}"
        )


def _finish_sums(directory: Path) -> None:
    """Add what rendering could not know: the lock's and the environment's own digests."""
    sums = directory / "SHA256SUMS"
    rows = sums.read_text("utf-8").splitlines()
    rows += [
        f"{hash_file(directory / name)[0]}  {name}"
        for name in (dockerfile.LOCK, dockerfile.PACKAGES)
    ]
    rows.sort(key=lambda row: row.partition("  ")[2])
    sums.write_text("".join(f"{row}\n" for row in rows), "utf-8", newline="\n")


@contextlib.contextmanager
def whole_directory(dest: Path) -> Iterator[Path]:
    """A directory that becomes *dest* when the block ends well, and vanishes when not."""
    if dest.exists() and not (dest.is_dir() and not any(dest.iterdir())):
        raise UsageError(
            f"{dest} is there already, and is not an empty directory",
            hint="Name a new directory, or remove that one.",
        )
    with disk_errors(dest):
        dest.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
    try:
        with disk_errors(dest):
            yield partial
            partial.chmod(0o755)
            os.replace(partial, dest)  # noqa: PTH105 - replaces an empty directory too
    finally:
        shutil.rmtree(partial, ignore_errors=True)
