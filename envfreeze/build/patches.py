"""Lay the edits of a lock over the files of a proved wheel.

The archive and the lock are untrusted: a patch must be for the very bytes that it meets, gives
the very bytes that the lock names, and can name no other file.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from envfreeze.errors import ArtifactError, LockError
from envfreeze.model.lock import Edit, edit_problem
from envfreeze.resolve.patches import (
    FILES,
    PATCH,
    PATCH_LIMIT,
    TEXT_LIMIT,
    Hunk,
    apply_hunks,
    parse,
)
from envfreeze.resolve.zipremote import BadZip
from envfreeze.resolve.zips import DAMAGE, open_zip
from envfreeze.store import CHUNK

_HINT = "Do not build from this lock; capture again."


def apply(edit: Edit, hunks: Iterable[Hunk], original: bytes) -> bytes:
    """The text file that *edit* makes of *original*.

    :raises ArtifactError: it is made for other bytes, or gives other bytes.
    """
    _check(edit.path, "the wheel", edit.before, hashlib.sha256(original).hexdigest())
    done = apply_hunks(hunks, original)
    _check(edit.path, "the patch", edit.after, hashlib.sha256(done).hexdigest())
    return done


class Patches:
    """The edits of one package, ready to be laid over what its wheel holds.

    A context manager; when it ends well, every edit must have met its file.
    """

    def __init__(self, edits: Sequence[Edit], archive: Path | None) -> None:
        """
        :param archive: its own sha256 was checked; None: there are only deletions.
        :raises LockError: the lock contradicts itself.
        :raises ArtifactError: the archive does not hold what the lock says.
        """
        self._edits = _by_path(edits)
        self._unmet = set(self._edits)
        self._zip: zipfile.ZipFile | None = None
        self._hunks: dict[str, list[Hunk]] = {}
        try:
            if archive is not None:
                self._zip = open_zip(archive)
            self._hunks = self._parse()
            self._check_names()
        except (BadZip, *DAMAGE) as error:
            self.close()
            raise ArtifactError(f"{archive} is not a whole zip: {error}", hint=_HINT) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Patches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None and self._unmet:
            raise ArtifactError(
                f"{min(self._unmet)} is edited, says the lock, and its wheel has no such file",
                hint=_HINT,
            )

    def close(self) -> None:
        if self._zip is not None:
            self._zip.close()

    def __contains__(self, key: str) -> bool:
        return key in self._edits

    def __getitem__(self, key: str) -> Edit:
        return self._edits[key]

    @property
    def keys(self) -> list[str]:
        """``scheme/path`` of each edited file."""
        return list(self._edits)

    def mode(self, key: str) -> bool:
        """Whether the file, whose bytes are the wheel's, is executable."""
        self._unmet.discard(key)
        return self._edits[key].executable

    def patched(self, key: str, stream: IO[bytes]) -> IO[bytes] | None:
        """What takes the place of the wheel's *stream*; None: the file is deleted.

        The result can be read from its start, and is known to be what the lock names.

        :raises ArtifactError: the wheel's file or ours has other bytes.
        """
        edit = self._edits[key]
        self._unmet.discard(key)
        if edit.kind == "text":
            original = stream.read(TEXT_LIMIT + 1)
            return io.BytesIO(apply(edit, self._hunks[key], original))
        if edit.before is not None:
            _check(key, "the wheel", edit.before, _digest(stream))
        return self._whole(edit) if edit.kind == "file" else None

    def _whole(self, edit: Edit) -> IO[bytes]:
        name = f"{FILES}{edit.after}"
        try:
            with self._open(name) as stream:
                _check(edit.path, "the archive", edit.after, _digest(stream))
            return self._open(name)
        except DAMAGE as error:
            raise ArtifactError(f"{name} of {edit.path} is damaged: {error}") from error

    def _open(self, name: str) -> IO[bytes]:
        if self._zip is None:
            raise LockError(f"the lock has no archive for {name}", hint=_HINT)
        return self._zip.open(name)

    def _parse(self) -> dict[str, list[Hunk]]:
        if not any(edit.kind == "text" for edit in self._edits.values()):
            return {}
        with self._open(PATCH) as stream:
            patch = stream.read(PATCH_LIMIT + 1)
        if len(patch) > PATCH_LIMIT:
            raise ArtifactError(f"a patch of more than {PATCH_LIMIT} bytes", hint=_HINT)
        return parse(patch)

    def _check_names(self) -> None:
        """The archive holds what the lock names, and nothing else."""
        texts = {path for path, edit in self._edits.items() if edit.kind == "text"}
        wanted = {f"{FILES}{e.after}" for e in self._edits.values() if e.kind == "file"}
        wanted |= {PATCH} if texts else set()
        held = self._zip.namelist() if self._zip is not None else []
        for what, one, other in (
            ("its patch", set(self._hunks), texts),
            ("its archive", set(held), wanted),
        ):
            if one != other:
                odd = min(one ^ other)
                said = "lacks" if odd in other else "holds"
                raise LockError(f"{what} {said} {odd!r}, against the lock", hint=_HINT)
        if len(held) != len(set(held)):
            raise LockError("its archive holds a file twice", hint=_HINT)


def _by_path(edits: Iterable[Edit]) -> dict[str, Edit]:
    found: dict[str, Edit] = {}
    for edit in edits:
        problem = edit_problem(edit)
        if edit.path in found:
            problem = "it is edited twice"
        if problem:
            raise LockError(f"the edit of {edit.path!r}: {problem}", hint=_HINT)
        found[edit.path] = edit
    return found


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _check(path: str, holder: str, expected: str | None, got: str) -> None:
    if got != expected:
        raise ArtifactError(
            f"{path} of {holder} is not what the lock names\n"
            f"expected sha256 {expected}\n     got sha256 {got}",
            hint=_HINT,
        )
