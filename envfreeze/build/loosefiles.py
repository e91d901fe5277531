"""Put back what no wheel brings: files that no distribution owns, and source trees."""

from __future__ import annotations

import contextlib
import gzip
import io
import posixpath
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from envfreeze.build.layout import Schemes, with_sources
from envfreeze.build.shebangs import LINE, with_shebang
from envfreeze.build.sinks import Sink
from envfreeze.build.streams import Hashed, Joined
from envfreeze.errors import ArtifactError, LockError
from envfreeze.model.identity import source_digest
from envfreeze.model.lock import LooseEntry, LooseSite, SourceTree, is_inside
from envfreeze.probe import pointers
from envfreeze.resolve import tars


def place_loose(
    site: LooseSite,
    archive: Path,
    sink: Sink,
    schemes: Schemes,
    others: Collection[str] = frozenset(),
) -> None:
    """Put back the unowned files of a site directory; links last, so none is written through.

    :param others: paths in the archive that belong elsewhere.
    :raises LockError: a member is not one the lock names, or leads out of the directory.
    :raises ArtifactError: a member is missing, or its bytes are not those that the lock names.
    """
    _check_loose(site)
    directory = schemes.scripts if site.scheme == "scripts" else schemes.site
    wanted = {entry.path: entry for entry in site.files if entry.link is None}
    links = {entry.path: entry.link for entry in site.files if entry.link is not None}
    unmet = set(links)
    with _whole(archive):
        for member, stream in _members(archive):
            if member.name in others:
                continue
            if member.name in unmet and stream is None:
                unmet.remove(member.name)
                continue
            entry = wanted.pop(member.name, None)
            if entry is None or stream is None:
                raise LockError(
                    f"{archive.name} holds {member.name!r}, which the lock does not name"
                )
            path = posixpath.join(directory, entry.path)
            kept = Hashed(stream)
            sink.put(path, _as_placed(site, entry, kept, schemes), executable=entry.executable)
            _check_sha256(entry, kept.sha256, archive.name)
    if wanted:
        raise ArtifactError(f"{archive.name} lacks {min(wanted)!r}, which the lock names")
    for path, target in sorted(links.items()):
        text = pointers.placed_link(str(target), schemes.sources)
        sink.link(posixpath.join(directory, path), text)


def _check_sha256(entry: LooseEntry, sha256: str, where: str) -> None:
    if sha256 != entry.sha256:
        raise ArtifactError(
            f"{entry.path} in {where} is not what the lock names\n"
            f"expected sha256 {entry.sha256}\n     got sha256 {sha256}"
        )


def _as_placed(site: LooseSite, entry: LooseEntry, kept: Hashed, schemes: Schemes) -> Any:
    """What is placed of an unowned file; it reads all of *kept*."""
    if site.scheme == "scripts":
        head = kept.read(LINE)
        return Joined(with_shebang(io.BytesIO(head), schemes.python, keep=True), kept)
    if not pointers.is_pointer(entry.path):
        return kept
    data = tars.read(cast("IO[bytes]", kept), pointers.LIMIT)
    if len(data) > pointers.LIMIT:
        return Joined(io.BytesIO(data), kept)
    return with_sources(entry.path, data, schemes.sources)


def _members(archive: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Each file of a tar.gz with its content, each link with None.

    :raises LockError: there is something else in it.
    """
    with gzip.open(archive) as packed:
        for member, stream in tars.members(cast("IO[bytes]", packed)):
            if stream is None and not member.issym():
                raise LockError(
                    f"{archive.name} holds {member.name!r}, which is no file and no link"
                )
            yield member, stream


@contextlib.contextmanager
def _whole(archive: Path) -> Iterator[None]:
    """:raises ArtifactError: the tar.gz that is read in this block is damaged."""
    try:
        yield
    except tars.DAMAGE as error:
        raise ArtifactError(f"{archive.name} is not a whole tar.gz: {error}") from error


def place_source(source: SourceTree, archive: Path, sink: Sink, places: Mapping[str, str]) -> None:
    """Put back a source tree; links last, so none is written through.

    :param places: as :attr:`Schemes.sources`.
    :raises LockError: a member leads out of the directory.
    :raises ArtifactError: the files are not those that the lock's digest is of.
    """
    directory = places[source.key]
    links: dict[str, str] = {}
    files: dict[str, str] = {}
    with _whole(archive):
        for member, stream in _members(archive):
            path = member.name
            if not is_inside(path) or posixpath.normpath(path) != path or path in {*links, *files}:
                raise LockError(
                    f"{archive.name} holds {path!r}, which has no place in {directory}",
                    hint="Do not build from this lock.",
                )
            if stream is None:
                links[path] = member.linkname
                continue
            executable = bool(member.mode & 0o111)
            sha256, _ = sink.put(posixpath.join(directory, path), stream, executable=executable)
            files[path] = sha256 + (" executable" if executable else "")
    _check_behind_links([*links, *files], links, archive.name)
    named = [*files.items(), *((path, f"-> {target}") for path, target in links.items())]
    if source_digest(named) != source.digest:
        raise ArtifactError(
            f"{archive.name} does not hold the files of {source.root} that the lock names",
            hint="Capture again, or restore the directory beside the lock.",
        )
    if not files:
        sink.directory(directory)
    for path, target in sorted(links.items()):
        sink.link(posixpath.join(directory, path), pointers.placed_link(target, places))


def _check_behind_links(paths: Iterable[str], links: Collection[str], where: str) -> None:
    for path in paths:
        above = {parent.as_posix() for parent in PurePosixPath(path).parents}
        if not above.isdisjoint(links):
            raise LockError(
                f"{where}: {path!r} lies behind a link", hint="Do not build from this lock."
            )


def _check_loose(site: LooseSite) -> None:
    """Every path is below the site directory, and none leads through a link."""
    links = {entry.path for entry in site.files if entry.link is not None}
    for entry in site.files:
        above = [parent.as_posix() for parent in PurePosixPath(entry.path).parents]
        if not is_inside(entry.path) or posixpath.normpath(entry.path) != entry.path:
            raise LockError(
                f"the unowned file {entry.path!r} leads out of {site.site}",
                hint="Do not build from this lock.",
            )
        if not links.isdisjoint(above):
            raise LockError(
                f"the unowned file {entry.path!r} lies behind a link of this lock",
                hint="Do not build from this lock.",
            )
