"""Files that somebody edited in an installed wheel: the wheel is proved, the edits are kept.

The proof takes RECORD's word for the edited files, so it finds the wheel that was installed;
what lies on the disk in their place becomes a patch over that wheel's bytes. Nothing rests on
the proof alone: what a patch gives is compared with the disk before it is kept.

A patch is a unified diff (POSIX ``diff -u``) over lines that end in a line feed and nothing
else, so that every byte comes back: carriage returns are letters, and a last line without its
line feed is marked as ``diff`` and ``git`` mark it.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

import msgspec

from envfreeze.errors import ArtifactError
from envfreeze.model.identity import owned_rows, wrappers
from envfreeze.model.lines import is_text
from envfreeze.model.lock import Edit, edit_problem
from envfreeze.model.snapshot import Row
from envfreeze.model.survey import Seen, claimed_sha256, is_unread
from envfreeze.resolve import pack
from envfreeze.resolve.compare import (
    MEMBER_LIMIT,
    CandidateWheel,
    Comparison,
    Mismatch,
    dist_info,
    gives_bit,
    installed,
    script_digests,
)
from envfreeze.resolve.wheels import NotProved, Prover, WheelProof
from envfreeze.resolve.zipremote import RemoteZip

FORMAT = 1
"""Raise it when the same edits give other bytes: it is part of what they are remembered by."""
TEXT_LIMIT = 1 << 20
"""Larger files are kept whole, in bytes."""
PATCH_LIMIT = 16 << 20
"""All the text patches of a distribution; what is above it is kept as whole files."""
PATCH_LINES = 500_000
MAX_EDITS = 20_000
MAX_CHANGED = 256
"""Edited files of one distribution; with more of them it is packed."""
MAX_ORIGINALS = 256 << 20
"""Bytes of the wheel that are read to compare with, for one distribution."""
_CONTEXT = 3
_MAX_LINES = 4_000
_MAX_PAIRS = 40_000
"""Beyond these, two texts are not aligned line by line: difflib would need minutes."""
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

PATCH = "patch"
"""The member of the archive that holds the unified diffs."""
FILES = "files/"
"""Before the digests that the whole files are called by in there."""


# --- what a lock says ----------------------------------------------------------------------


def needs_archive(edits: Iterable[Edit]) -> bool:
    """Whether these edits bring bytes, not only deletions."""
    return any(edit.kind in {"text", "file"} for edit in edits)


# --- unified diffs -------------------------------------------------------------------------

_Change = tuple[int, int, int, int]
"""Lines ``[i1, i2)`` of the one became lines ``[j1, j2)`` of the other."""
_HUNK = re.compile(rb"@@ -(\d{1,7}),(\d{1,7}) \+(\d{1,7}),(\d{1,7}) @@\n")
_NO_NEWLINE = b"\\ No newline at end of file\n"


@dataclass(slots=True)
class Hunk:
    """One block of a unified diff; its lines as ``(b" " or b"-" or b"+", line)``."""

    old: int
    """The first line of the original, from 0."""
    new: int
    lines: list[tuple[bytes, bytes]] = field(default_factory=list)


def diff(path: str, before: bytes, after: bytes) -> bytes:
    """The section of a patch that turns *before* into *after*: any bytes, exactly."""
    old, new = _lines(before), _lines(after)
    parts = [f"--- a/{path}\n+++ b/{path}\n".encode()]
    for group in _groups(_changes(old, new)):
        parts += _hunk(group, old, new)
    return b"".join(parts)


def _lines(data: bytes) -> list[bytes]:
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def _changes(old: Sequence[bytes], new: Sequence[bytes]) -> list[_Change]:
    shorter = min(len(old), len(new))
    head = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    rest = shorter - head
    tail = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    one, other = old[head : len(old) - tail], new[head : len(new) - tail]
    if not one and not other:
        return []
    if not _is_alignable(one, other):
        return [(head, len(old) - tail, head, len(new) - tail)]
    codes = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return [
        (head + i1, head + i2, head + j1, head + j2)
        for tag, i1, i2, j1, j2 in codes
        if tag != "equal"
    ]


def _is_alignable(one: Sequence[bytes], other: Sequence[bytes]) -> bool:
    if max(len(one), len(other)) > _MAX_LINES:
        return False
    there = Counter(other)
    return sum(there[line] for line in one) <= _MAX_PAIRS


def _groups(changes: Iterable[_Change]) -> Iterator[list[_Change]]:
    """Changes whose context would touch, together."""
    group: list[_Change] = []
    for change in changes:
        if group and change[0] - group[-1][1] > 2 * _CONTEXT:
            yield group
            group = []
        group.append(change)
    if group:
        yield group


def _hunk(group: Sequence[_Change], old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[bytes]:
    first, last = group[0], group[-1]
    lead = min(_CONTEXT, first[0])
    tail = min(_CONTEXT, len(old) - last[1])
    i, j = first[0] - lead, first[2] - lead
    olds, news = last[1] + tail - i, last[3] + tail - j
    # POSIX: an empty range names the line before it.
    heads = i + bool(olds), j + bool(news)
    yield f"@@ -{heads[0]},{olds} +{heads[1]},{news} @@\n".encode()
    for i1, i2, j1, j2 in group:
        yield from (_line(b" ", line) for line in old[i:i1])
        yield from (_line(b"-", line) for line in old[i1:i2])
        yield from (_line(b"+", line) for line in new[j1:j2])
        i = i2
    yield from (_line(b" ", line) for line in old[i : i + tail])


def _line(mark: bytes, line: bytes) -> bytes:
    return mark + line if line.endswith(b"\n") else mark + line + b"\n" + _NO_NEWLINE


def parse(patch: bytes) -> dict[str, list[Hunk]]:
    """The sections of a patch by their path: only what :func:`diff` writes is taken.

    :raises ArtifactError: it is anything else; a count that lies is.
    """
    if len(patch) > PATCH_LIMIT or patch.count(b"\n") > PATCH_LINES:
        raise ArtifactError(f"the patch is too large: {len(patch)} bytes")
    lines = _lines(patch)
    sections: dict[str, list[Hunk]] = {}
    position = 0
    while position < len(lines):
        path, position = _section(lines, position)
        if path in sections:
            raise ArtifactError(f"the patch changes {path} twice")
        sections[path] = []
        while position < len(lines) and (match := _HUNK.fullmatch(lines[position])):
            hunk, position = _read_hunk(lines, position + 1, match)
            sections[path].append(hunk)
        if not sections[path]:
            raise ArtifactError(f"the patch names {path} and does not change it")
    return sections


def _section(lines: Sequence[bytes], position: int) -> tuple[str, int]:
    head = lines[position]
    follows = lines[position + 1] if position + 1 < len(lines) else b""
    if (
        not head.startswith(b"--- a/")
        or not head.endswith(b"\n")
        or follows != b"+++ b/" + head.removeprefix(b"--- a/")
    ):
        raise ArtifactError(f"line {position + 1} of the patch is not what it should be")
    try:
        return head[6:-1].decode(), position + 2
    except UnicodeDecodeError:
        raise ArtifactError(f"line {position + 1} of the patch is not UTF-8") from None


def _read_hunk(lines: Sequence[bytes], position: int, match: re.Match[bytes]) -> tuple[Hunk, int]:
    old, olds, new, news = map(int, match.groups())
    if (olds and not old) or (news and not new):
        raise ArtifactError(f"line {position} of the patch counts from 0")
    hunk = Hunk(old - bool(olds), new - bool(news))
    while olds > 0 or news > 0:
        line = lines[position] if position < len(lines) else b""
        mark, content = line[:1], line[1:]
        if mark not in {b" ", b"-", b"+"} or not line.endswith(b"\n"):
            raise ArtifactError(f"the patch ends within a block, at line {position + 1}")
        olds -= mark != b"+"
        news -= mark != b"-"
        position += 1
        if position < len(lines) and lines[position] == _NO_NEWLINE:
            content = content[:-1]
            position += 1
        hunk.lines.append((mark, content))
    if olds or news:
        raise ArtifactError(f"a block of the patch is longer than it says, at line {position}")
    return hunk, position


def apply_hunks(hunks: Iterable[Hunk], before: bytes) -> bytes:
    """*before* with the changes made; every line of context must be there, where it is said.

    :raises ArtifactError: it is not.
    """
    source = _lines(before)
    done: list[bytes] = []
    at = 0
    for hunk in hunks:
        if not at <= hunk.old <= len(source):
            raise ArtifactError(f"the patch has no place for its block at line {hunk.old + 1}")
        done += source[at : hunk.old]
        at = hunk.old
        if len(done) != hunk.new:
            raise ArtifactError(f"the patch misplaces its block at line {hunk.old + 1}")
        for mark, line in hunk.lines:
            if mark != b"+":
                if at >= len(source) or source[at] != line:
                    raise ArtifactError(f"line {at + 1} is not what the patch was made for")
                at += 1
            if mark != b"-":
                if done and not done[-1].endswith(b"\n"):
                    raise ArtifactError("the patch goes on after a last line")
                done.append(line)
    rest = source[at:]
    if rest and done and not done[-1].endswith(b"\n"):
        raise ArtifactError("the patch goes on after a last line")
    return b"".join(done + rest)


def make(path: str, before: bytes, after: bytes) -> bytes | None:
    """A text patch, where it is one worth having: both are text, and it is smaller than the file.

    :returns: None where the file is better kept whole.
    """
    if not (_is_text(before) and _is_text(after)) or not _PLAIN.fullmatch(path):
        return None
    patch = diff(path, before, after)
    if len(patch) > max(len(after), 512):
        return None
    sections = parse(patch)
    return patch if apply_hunks(sections[path], before) == after else None


def _is_text(data: bytes) -> bool:
    return len(data) < TEXT_LIMIT and is_text(data)


# --- capture -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """A distribution that is a wheel and some edits."""

    proof: WheelProof
    """Its evidence tells of the edits."""
    edits: tuple[Edit, ...]
    archive: str | None
    """sha256 in the cache of the archive with their bytes; None: there are only deletions."""


def modes(item: Seen, executable: Collection[str], edits: Iterable[Edit] = ()) -> list[Edit]:
    """The files of *item* that somebody made executable or no longer so, beside *edits*.

    :param executable: ``scheme/path`` of what its installer makes executable; what it makes of
        entry points always is.
    """
    told = {*item.yields, *(edit.path for edit in edits)}
    made = {f"{row.scheme}/{row.path}" for row in wrappers(item.dist)}
    rows = {f"{r.scheme}/{r.path}": r for r in [*owned_rows(item.dist), *wrappers(item.dist)]}
    return [
        Edit(path=key, kind="mode", executable=row.executable)
        for key, row in sorted(rows.items())
        if row.sha256 is not None
        and key not in told
        and row.executable != (key in made or key in executable)
        and _PLAIN.fullmatch(key)
    ]


def packed_bits(item: Seen) -> set[str]:
    """``scheme/path`` of what is executable when a wheel that was packed here is placed."""
    return {
        f"{row.scheme}/{row.path}"
        for row in owned_rows(item.dist)
        if gives_bit(
            0o100755 if row.executable else 0o100644,
            script=row.scheme == "scripts",
            installer=item.dist.installer,
        )
    }


class _Note(msgspec.Struct, frozen=True, kw_only=True):
    """Remembered edits, so that an unchanged environment is captured without a request."""

    edits: tuple[Edit, ...]
    archive: str | None


def by_claim(item: Seen) -> frozenset[str]:
    """What a proof of *item* takes RECORD's word for: the *yields* of a proof."""
    return frozenset((*item.yields, *item.edited, *item.missing))


def prove_edited(item: Seen, prover: Prover, place: pack.Layout) -> Patched | NotProved:
    """Find the wheel that *item* was, and keep what was changed in it.

    :raises ArtifactError: a file changed while it was being read.
    """
    if not item.edited and not item.missing:
        return NotProved(reason="its files are as its RECORD says")
    verdict = prover.prove(item.dist, by_claim(item))
    return verdict if isinstance(verdict, NotProved) else keep(item, verdict, prover, place)


def keep(item: Seen, proof: WheelProof, prover: Prover, place: pack.Layout) -> Patched | NotProved:
    """The edits of *item* over the wheel that *proof* names, their bytes in the cache.

    :param proof: made with :func:`by_claim`.
    :raises ArtifactError: a file changed while it was being read.
    """
    lost = {*item.edited, *item.missing}
    rows = {
        f"{row.scheme}/{row.path}": row
        for row in owned_rows(item.dist)
        # What nobody could read is no deletion: the wheel's own file stands for it.
        if f"{row.scheme}/{row.path}" in lost and not is_unread(row)
    }
    key = _key(proof, rows)
    note = _recall(key, prover)
    if note is None:
        try:
            note = _Keeper(item, proof, prover, place).keep(rows)
        except _Unfit as unfit:
            return NotProved(reason=str(unfit))
        prover.cache.write_note("patches", key, msgspec.json.encode(note))
    proof = replace(proof, evidence=_evidence(proof.evidence, note.edits))
    return Patched(proof=proof, edits=note.edits, archive=note.archive)


class _Unfit(Exception):  # noqa: N818 - an answer, not an error
    """These edits are better packed with the whole distribution."""


def _key(proof: WheelProof, rows: dict[str, Row]) -> str:
    facts = [[key, r.sha256, r.claim, r.executable] for key, r in sorted(rows.items())]
    return hashlib.sha256(msgspec.json.encode([FORMAT, proof.sha256, facts])).hexdigest()


def _recall(key: str, prover: Prover) -> _Note | None:
    data = prover.cache.read_note("patches", key)
    if data is None:
        return None
    try:
        note = msgspec.json.decode(data, type=_Note)
    except msgspec.DecodeError:
        return None
    if note.archive is not None and prover.cache.find(note.archive) is None:
        return None
    return None if any(map(edit_problem, note.edits)) else note


def _evidence(evidence: str, edits: Sequence[Edit]) -> str:
    deleted = sum(edit.kind == "deleted" for edit in edits)
    counts = ((len(edits) - deleted, "edited"), (deleted, "deleted"))
    said = " and ".join(f"{count} {what}" for count, what in counts if count)
    return f"{evidence} ({said}: kept as a patch)" if said else evidence


class _Keeper:
    """Makes the edits of one distribution."""

    def __init__(self, item: Seen, proof: WheelProof, prover: Prover, place: pack.Layout) -> None:
        self._item = item
        self._proof = proof
        self._prover = prover
        self._place = place
        self._read = 0
        self._patches: list[bytes] = []
        self._patched = 0, 0
        self._whole: dict[str, Row] = {}

    def keep(self, rows: dict[str, Row]) -> _Note:
        if len(rows) > MAX_EDITS or sum(r.sha256 is not None for r in rows.values()) > MAX_CHANGED:
            raise _Unfit(f"{len(rows)} of its files are edited or missing")
        if not all(map(_PLAIN.fullmatch, rows)):
            raise _Unfit("an edited file has a name that no patch can hold")
        try:
            archive, members = self._wheel(frozenset(rows))
        except (ArtifactError, Mismatch) as error:
            raise _Unfit(f"{self._proof.candidate.filename}: {error}") from error
        edits = [
            edit
            for key in sorted(rows)
            if (edit := self._edit(key, rows[key], archive, members.get(key)))
        ]
        return _Note(edits=tuple(edits), archive=self._pack() if needs_archive(edits) else None)

    def _wheel(self, wanted: frozenset[str]) -> tuple[RemoteZip, dict[str, str]]:
        """The wheel, and which of its members are the *wanted* ``scheme/path``."""
        proof, prover, dist = self._proof, self._prover, self._item.dist
        here = proof.candidate.local or prover.cache.find(proof.sha256, proof.size) is not None
        if prover.offline and not here:
            raise _Unfit("offline, and its edits were not kept here before")
        view = installed(dist, by_claim(self._item))
        candidate = replace(proof.candidate, sha256=proof.sha256, size=proof.size)
        wheel = CandidateWheel(candidate, prover.index.http, prover.cache, tail=view.tail)
        archive = wheel.zip()
        comparison = Comparison(view, wheel, info=dist_info(archive, dist.info))
        members: dict[str, str] = {}
        for name in archive.names:
            for place, key in enumerate(comparison.keys(name)):
                if key not in wanted:
                    continue
                if place or key in members:
                    # The rebuild would not know which file of the wheel is meant.
                    raise _Unfit(f"{key} is not at the place that its wheel has for it")
                members[key] = name
        return archive, members

    def _edit(self, key: str, row: Row, archive: RemoteZip, member: str | None) -> Edit | None:
        if row.sha256 is None:
            # pip leaves rows of scripts that it replaced by wrappers: nothing to delete.
            return Edit(path=key, kind="deleted") if member is not None else None
        if member is None:
            raise _Unfit(f"{key} is not in {self._proof.candidate.filename}")
        original = self._original(row, archive, member)
        before = hashlib.sha256(original).hexdigest() if original is not None else None
        if row.sha256 == before or (
            original is not None
            and row.scheme == "scripts"
            and row.sha256 in script_digests(original)
        ):
            return None
        patch = self._text(key, row, original) if original is not None else None
        if patch is None:
            self._whole[row.sha256] = row
        else:
            self._patches.append(patch)
        return Edit(
            path=key,
            kind="file" if patch is None else "text",
            before=before,
            after=row.sha256,
            executable=row.executable,
        )

    def _original(self, row: Row, archive: RemoteZip, member: str) -> bytes | None:
        """The wheel's bytes, that RECORD's claim vouches for; None: too many to read."""
        size = archive.size_of(member)
        if size > MEMBER_LIMIT or self._read + size > MAX_ORIGINALS:
            return None
        try:
            content = archive.read(member, size)
        except ArtifactError as error:
            raise _Unfit(f"{self._proof.candidate.filename}: {error}") from error
        self._read += size
        claimed = claimed_sha256(row)
        # A script's claim is for its first line as the installer wrote it.
        if row.scheme != "scripts" and claimed not in {
            None,
            hashlib.sha256(content).hexdigest(),
        }:
            raise _Unfit(f"{member} is not what the RECORD beside it says")
        return content

    def _text(self, key: str, row: Row, original: bytes) -> bytes | None:
        if row.size is None or row.size >= TEXT_LIMIT or len(original) >= TEXT_LIMIT:
            return None
        patch = make(key, original, b"".join(self._bytes(row)))
        if patch is None:
            return None
        size, lines = self._patched[0] + len(patch), self._patched[1] + patch.count(b"\n")
        if size > PATCH_LIMIT or lines > PATCH_LINES:
            return None
        self._patched = size, lines
        return patch

    def _bytes(self, row: Row) -> Iterator[bytes]:
        """What lies on the disk, as a wheel would carry it.

        :raises ArtifactError: it changed since it was looked at.
        """
        path = self._place.file(row, self._item.dist.name)
        digest = hashlib.sha256()
        try:
            with pack.opened(path) as source:
                for chunk in pack.installed_chunks(source, row, self._place):
                    digest.update(chunk)
                    yield chunk
        except OSError as error:
            raise ArtifactError(
                f"cannot read {path}: {error.strerror or error}", hint="Try again."
            ) from error
        if digest.hexdigest() != row.sha256:
            raise ArtifactError(
                f"{path} changed while it was being captured",
                hint="Let it settle and capture again.",
            )

    def _pack(self) -> str:
        """A zip, so that a rebuild can take the files in any order; the same bytes each time."""
        with (
            self._prover.cache.writing() as blob,
            zipfile.ZipFile(pack.Seekless(blob), "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            if self._patches:
                archive.writestr(pack.zip_member(PATCH, False), b"".join(self._patches))
            for sha256, row in sorted(self._whole.items()):
                info = pack.zip_member(FILES + sha256, False)
                info.file_size = row.size or 0  # zipfile chooses zip64 by it.
                with archive.open(info, "w") as member:
                    for chunk in self._bytes(row):
                        member.write(chunk)
        return blob.sha256
