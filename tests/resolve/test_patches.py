"""Edited files: the wheel is proved, the edits come back byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envfreeze.errors import ArtifactError
from envfreeze.model.lock import Edit, edit_problem
from envfreeze.model.survey import files_of
from envfreeze.resolve import compare, patches
from envfreeze.resolve.http import Http
from envfreeze.resolve.index import Index
from envfreeze.resolve.pack import layout
from envfreeze.resolve.patches import (
    Patched,
    apply_hunks,
    by_claim,
    diff,
    make,
    parse,
    prove_edited,
)
from envfreeze.resolve.pipconf import IndexSettings
from envfreeze.resolve.wheels import NotProved, Prover, WheelProof
from envfreeze.store import Cache
from tests.support import envs
from tests.support.fakeindex import FakeIndex, make_wheel

# --- the diff ------------------------------------------------------------------------------

LINES = st.sampled_from(["a", "b", "c", "", " ", "-", "+", "--- a/p", "+++ b/p", "@@ -1,1 +1,1 @@"])
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\x0c", "\x85", "\u2028", "\n\n", ""])
TEXT = st.lists(st.tuples(LINES, ENDS), max_size=30).map(lambda p: "".join(a + b for a, b in p))
WILD = st.text(max_size=60)
LONG = st.integers(0, 9).map(lambda n: "x" * 50_000 + str(n))
ANY = st.one_of(TEXT, WILD, LONG).map(str.encode)


def apply(patch: bytes, before: bytes) -> bytes:
    return apply_hunks(parse(patch)["site/p.py"], before)


@given(ANY | st.binary(max_size=80), ANY | st.binary(max_size=80))
@settings(max_examples=400, deadline=None)
def test_any_edit_comes_back(before: bytes, after: bytes) -> None:
    patch = diff("site/p.py", before, after)
    if before == after:
        assert patch == b"--- a/site/p.py\n+++ b/site/p.py\n"
        return
    assert apply(patch, before) == after
    # Its opposite is its opposite.
    assert apply(diff("site/p.py", after, before), after) == before


@given(st.lists(TEXT.map(str.encode), min_size=2, max_size=4, unique=True))
@settings(deadline=None)
def test_sections_stay_apart(texts: list[bytes]) -> None:
    """A line that looks like a header is a line of its block: the counts tell."""
    pairs = {f"site/{n}.py": (texts[n], texts[n - 1]) for n in range(len(texts))}
    patch = b"".join(diff(path, *pair) for path, pair in pairs.items())
    sections = parse(patch)
    assert list(sections) == list(pairs)
    for path, (before, after) in pairs.items():
        assert apply_hunks(sections[path], before) == after


def test_it_reads_as_diff_writes_it() -> None:
    before = b"".join(b"line %d\n" % n for n in range(12))
    after = before.replace(b"line 3\n", b"line three\n").replace(b"line 11\n", b"line 11")
    assert diff("site/p.py", before, after).decode() == (
        "--- a/site/p.py\n+++ b/site/p.py\n"
        "@@ -1,7 +1,7 @@\n line 0\n line 1\n line 2\n-line 3\n+line three\n line 4\n line 5\n"
        " line 6\n"
        "@@ -9,4 +9,4 @@\n line 8\n line 9\n line 10\n-line 11\n"
        "+line 11\n\\ No newline at end of file\n"
    )


def test_from_and_to_nothing() -> None:
    assert b"@@ -0,0 +1,1 @@\n+x\n" in diff("site/p.py", b"", b"x\n")
    assert b"@@ -1,1 +0,0 @@\n-x\n" in diff("site/p.py", b"x\n", b"")


def test_large_files_are_not_aligned_for_minutes() -> None:
    before = b"".join(b"%d\n" % (n % 7) for n in range(60_000))
    after = b"first\n" + before[::-1] + b"last\n"
    assert apply(diff("site/p.py", before, after), before) == after


def test_what_is_better_kept_whole() -> None:
    text = b"".join(b"line %d\n" % n for n in range(200))
    assert make("site/p.py", text, text.replace(b"line 9\n", b"nine\n")) is not None
    assert make("site/p.py", text, text[::-1]) is None, "the patch is larger than the file"
    assert make("site/p.py", text, text + b"\0") is None
    assert make("site/p.py", b"\xff\n" + text, text) is None
    assert make("site/p.py", text, b"x" * patches.TEXT_LIMIT) is None
    assert make("site/p\n.py", text, text + b"x\n") is None


GOOD = b"--- a/site/p.py\n+++ b/site/p.py\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param(GOOD.replace(b"+++ b/site/p.py", b"+++ b/site/q.py"), id="two names"),
        pytest.param(GOOD.replace(b"-1,2", b"-1,3"), id="more lines than there are"),
        pytest.param(GOOD.replace(b"-1,2", b"-1,1"), id="fewer lines than there are"),
        pytest.param(GOOD.replace(b"-1,2", b"-1,9999999"), id="a huge count"),
        pytest.param(GOOD.replace(b"-1,2", b"-1,99999999999999"), id="an absurd count"),
        pytest.param(GOOD.replace(b"-1,2", b"-0,2"), id="line 0"),
        pytest.param(GOOD.replace(b"-1,2", b"--1,2"), id="a negative line"),
        pytest.param(GOOD.replace(b"-1,2", b"-1"), id="no count"),
        pytest.param(GOOD + GOOD, id="the same file twice"),
        pytest.param(GOOD + b"rename to ../../x\n", id="git's other commands"),
        pytest.param(b"rename from x\n" + GOOD, id="git's commands before"),
        pytest.param(b"--- a/site/p.py\n+++ b/site/p.py\n", id="no change"),
        pytest.param(GOOD[:-1], id="cut short"),
        pytest.param(GOOD.replace(b" a\n", b"a\n"), id="no mark"),
        pytest.param(b"--- a/site/\xff\n+++ b/site/\xff\n@@ -0,0 +1,1 @@\n+x\n", id="a name"),
        pytest.param(b"\\ No newline at end of file\n" + GOOD, id="a mark of its own"),
        pytest.param(b"\n" * (patches.PATCH_LINES + 1), id="too many lines"),
        pytest.param(b"x" * (patches.PATCH_LIMIT + 1), id="too large"),
        pytest.param(b"x", id="garbage"),
    ],
)
def test_a_patch_that_is_none(patch: bytes) -> None:
    with pytest.raises(ArtifactError):
        parse(patch)


@given(st.binary(max_size=200) | st.binary(max_size=30).map(lambda b: GOOD + b))
@settings(deadline=None)
def test_garbage_only_raises_what_it_says(patch: bytes) -> None:
    with contextlib.suppress(ArtifactError):
        parse(patch)


@pytest.mark.parametrize("before", [b"", b"a\n", b"a\nb", b"a\r\nb\n", b"x\na\nb\n", b"a \nb\n"])
def test_the_context_must_be_there(before: bytes) -> None:
    with pytest.raises(ArtifactError):
        apply(GOOD, before)


@pytest.mark.parametrize(
    "blocks",
    [
        pytest.param(b"@@ -3,1 +3,1 @@\n-c\n+C\n@@ -1,1 +1,1 @@\n-a\n+A\n", id="backwards"),
        pytest.param(b"@@ -1,1 +2,1 @@\n-a\n+A\n", id="misplaced"),
        pytest.param(b"@@ -9,0 +9,1 @@\n+A\n", id="past the end"),
        pytest.param(
            b"@@ -1,1 +1,1 @@\n-a\n+A\n\\ No newline at end of file\n", id="an end in the middle"
        ),
        pytest.param(
            b"@@ -0,0 +1,2 @@\n+A\n\\ No newline at end of file\n+B\n", id="an end in the block"
        ),
    ],
)
def test_a_block_out_of_place(blocks: bytes) -> None:
    patch = b"--- a/site/p.py\n+++ b/site/p.py\n" + blocks
    with pytest.raises(ArtifactError):
        apply(patch, b"a\nb\nc\n")


D = "0" * 64


@pytest.mark.parametrize(
    "edit",
    [
        Edit(path="site/../x", kind="deleted"),
        Edit(path="site//etc/passwd", kind="deleted"),
        Edit(path="/etc/passwd", kind="deleted"),
        Edit(path="outside/x", kind="deleted"),
        Edit(path="site", kind="deleted"),
        Edit(path="site/a\nb", kind="deleted"),
        Edit(path="site/a\\b", kind="deleted"),
        Edit(path="site/x", kind="deleted", after=D),
        Edit(path="site/x", kind="file"),
        Edit(path="site/x", kind="mode", after=D),
        Edit(path="site/../x", kind="mode", executable=True),
        Edit(path="site/x", kind="file", after="../" * 21 + "x"),
        Edit(path="site/x", kind="text", after=D),
        Edit(path="site/x", kind="text", after=D, before="x"),
    ],
)
def test_a_hostile_edit_is_named(edit: Edit) -> None:
    assert edit_problem(edit) is not None


def test_a_good_edit_has_no_problem() -> None:
    assert edit_problem(Edit(path="site/a b/é.py", kind="text", before=D, after=D)) is None
    assert edit_problem(Edit(path="scripts/run", kind="deleted")) is None
    assert edit_problem(Edit(path="scripts/run", kind="mode", executable=True)) is None


# --- capture -------------------------------------------------------------------------------

LONG_TEXT = "".join(f"line {n}\n" for n in range(100))
FILES = {
    "demo/__init__.py": LONG_TEXT,
    "demo/crlf.py": LONG_TEXT.replace("\n", "\r\n"),
    "demo/fast.so": b"\x7fELF\0" + b"e" * 3000,
    "demo/tests/test_x.py": "x = 1\n",
    "demo-1.0.data/purelib/demo/pure.py": LONG_TEXT,
}


@dataclass
class Here:
    tmp: Path
    server: FakeIndex
    env: Path
    cache: Cache

    def install(self, name: str = "demo", files: Any = FILES, **more: Any) -> Path:
        wheel = make_wheel(self.server.directory, name, "1.0", files, **more)
        envs.install(wheel, self.env)
        return wheel

    @property
    def site(self) -> Path:
        return self.env / envs.SITE

    def prover(self, *, offline: bool = False, cache: Cache | None = None) -> Prover:
        made = IndexSettings(index_url=self.server.url, retries=0, timeout=5)
        return Prover(index=Index(made, Http(made)), cache=cache or self.cache, offline=offline)

    def prove(self, name: str = "demo", **options: Any) -> Patched | NotProved:
        snapshot = envs.look(self.env)
        item = envs.seen(snapshot, name)
        sites = {s.path: layout(s, snapshot.interpreter) for s in snapshot.sites}
        return prove_edited(item, self.prover(**options), sites[item.dist.site])

    def patched(self, name: str = "demo", **options: Any) -> Patched:
        verdict = self.prove(name, **options)
        assert isinstance(verdict, Patched), verdict
        return verdict

    def members(self, patched: Patched) -> dict[str, bytes]:
        path = self.cache.find(patched.archive or "")
        assert path is not None
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    (tmp_path / "files").mkdir()
    with FakeIndex(tmp_path / "files") as server:
        yield Here(tmp_path, server, envs.make_venv(tmp_path / "env"), Cache(tmp_path / "cache"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_every_kind_of_edit(here: Here) -> None:
    wheel = here.install()
    (here.site / "demo/__init__.py").write_text(LONG_TEXT.replace("line 5\n", "line five\n"))
    crlf = LONG_TEXT.replace("\n", "\r\n").replace("line 7\r\n", "seven\n").encode()
    (here.site / "demo/crlf.py").write_bytes(crlf)
    binary = b"\x7fELF\0" + b"f" * 3000
    (here.site / "demo/fast.so").write_bytes(binary)
    (here.site / "demo/tests/test_x.py").unlink()
    patched = here.patched()
    assert patched.proof.sha256 == sha256(wheel.read_bytes())
    assert patched.proof.evidence.endswith("(3 edited and 1 deleted: kept as a patch)")
    kinds = {edit.path: edit.kind for edit in patched.edits}
    assert kinds == {
        "site/demo/__init__.py": "text",
        "site/demo/crlf.py": "text",
        "site/demo/fast.so": "file",
        "site/demo/tests/test_x.py": "deleted",
    }
    assert list(kinds) == sorted(kinds)
    assert not [edit for edit in patched.edits if edit_problem(edit)]
    held = here.members(patched)
    assert held.pop(f"files/{sha256(binary)}") == binary
    sections = parse(held.pop("patch"))
    assert not held
    assert apply_hunks(sections["site/demo/crlf.py"], FILES["demo/crlf.py"].encode()) == crlf  # type: ignore[union-attr]


def test_only_what_was_edited_is_fetched(here: Here) -> None:
    files = {f"demo/{n}.bin": hashlib.shake_256(b"%d" % n).digest(100_000) for n in range(20)}
    here.install(files={**files, "demo/a.py": LONG_TEXT})
    (here.site / "demo/a.py").write_text(LONG_TEXT + "more\n")
    here.patched()
    ranges = [h["range"] for h in here.server.headers if "range" in h]
    spans = [tuple(map(int, r.removeprefix("bytes=").split("-"))) for r in ranges]
    assert sum(end - start + 1 for start, end in spans) < 200_000


def test_a_file_in_purelib(here: Here) -> None:
    here.install()
    (here.site / "demo/pure.py").write_text(LONG_TEXT + "more\n")
    assert [edit.path for edit in here.patched().edits] == ["site/demo/pure.py"]


def test_only_deletions_need_no_bytes(here: Here) -> None:
    here.install()
    (here.site / "demo/tests/test_x.py").unlink()
    patched = here.patched()
    assert patched.archive is None
    assert [(e.path, e.kind) for e in patched.edits] == [("site/demo/tests/test_x.py", "deleted")]


def test_a_file_that_nobody_could_read_is_no_deletion(here: Here) -> None:
    here.install()
    (here.site / "demo/tests/test_x.py").unlink()
    (here.site / "demo/pure.py").write_bytes(b"edited\n")
    snapshot = envs.look(here.env)
    item = envs.seen(snapshot, "demo")
    hidden = [
        msgspec.structs.replace(row, sha256=None) if row.path == "demo/pure.py" else row
        for row in item.dist.rows or ()
    ]
    dists = [
        msgspec.structs.replace(dist, rows=hidden) if dist.name == "demo" else dist
        for dist in snapshot.dists
    ]
    seen = envs.seen(msgspec.structs.replace(snapshot, dists=dists), "demo")
    place = {s.path: layout(s, snapshot.interpreter) for s in snapshot.sites}[item.dist.site]
    patched = prove_edited(seen, here.prover(), place)
    assert isinstance(patched, Patched)
    assert [(e.path, e.kind) for e in patched.edits] == [("site/demo/tests/test_x.py", "deleted")]


def test_a_script_is_kept_in_its_neutral_form(here: Here) -> None:
    body = "".join(f"print({n})\n" for n in range(60))
    here.install(scripts={"run": "#!python\n" + body, "sh": "#!/bin/sh\ntrue\n"})
    script = here.env / "bin/run"
    script.write_text(script.read_text().replace("print(7)\n", "print('seven')\n"))
    (here.env / "bin/sh").write_text("#!/bin/sh\nfalse\n")
    patched = here.patched()
    assert [(e.path, e.kind, e.executable) for e in patched.edits] == [
        ("scripts/run", "text", True),
        ("scripts/sh", "text", True),
    ]
    sections = parse(here.members(patched)["patch"])
    done = apply_hunks(sections["scripts/run"], b"#!python\n" + body.encode())
    assert done.startswith(b"#!python\n")
    assert str(here.env).encode() not in here.members(patched)["patch"]
    assert patched.edits[0].after == sha256(done)


def test_a_script_whose_python_moved_is_no_edit(here: Here) -> None:
    here.install(scripts={"run": "#!python\nprint(1)\n"})
    script = here.env / "bin/run"
    script.write_text(script.read_text().replace("/bin/python\n", "/bin/python3\n"))
    (here.site / "demo/__init__.py").write_text("x\n")
    assert [edit.path for edit in here.patched().edits] == ["site/demo/__init__.py"]


def test_edited_and_overwritten(here: Here) -> None:
    """One file is the user's edit, another is a second distribution's: only the first is ours."""
    here.install()
    here.install("other", {"demo/pure.py": "other's\n", "other.py": "y\n"})
    (here.site / "demo/__init__.py").write_text(LONG_TEXT + "more\n")
    item = envs.seen(envs.look(here.env), "demo")
    assert item.yields == ("site/demo/pure.py",)
    assert by_claim(item) == {"site/demo/pure.py", "site/demo/__init__.py"}
    assert [edit.path for edit in here.patched().edits] == ["site/demo/__init__.py"]


def test_after_all_edits_the_tree_is_that_of_the_disk(here: Here) -> None:
    here.install()
    (here.site / "demo/__init__.py").write_text("edited\n")
    (here.site / "demo/tests/test_x.py").unlink()
    item = envs.seen(envs.look(here.env), "demo")
    disk = dict(files_of(item))
    for edit in here.patched().edits:
        assert disk.get(edit.path) == edit.after


def test_the_same_bytes_each_time(here: Here) -> None:
    here.install()
    (here.site / "demo/__init__.py").write_text(LONG_TEXT + "more\n")
    (here.site / "demo/fast.so").write_bytes(b"\0other")
    one = here.patched()
    assert here.patched(cache=Cache(here.tmp / "cache2")) == one


def test_a_second_capture_asks_nothing(here: Here) -> None:
    here.install()
    (here.site / "demo/__init__.py").write_text(LONG_TEXT + "more\n")
    one = here.patched()
    asked = len(here.server.requests)
    assert here.patched() == one
    assert here.patched(offline=True) == one
    assert len(here.server.requests) == asked


def test_a_lost_archive_is_made_again(here: Here) -> None:
    here.install()
    (here.site / "demo/__init__.py").write_text(LONG_TEXT + "more\n")
    one = here.patched()
    here.cache.discard(one.archive or "")
    assert here.patched() == one
    assert here.cache.find(one.archive or "") is not None


def test_offline_without_memory(here: Here) -> None:
    here.install()
    (here.site / "demo/__init__.py").write_text(LONG_TEXT + "more\n")
    assert isinstance(here.prove(offline=True), NotProved)
    prover = here.prover()
    item = envs.seen(envs.look(here.env), "demo")
    assert not isinstance(prover.prove(item.dist, by_claim(item)), NotProved)
    verdict = here.prove(offline=True)
    assert isinstance(verdict, NotProved)
    assert "offline" in verdict.reason


def test_a_server_without_ranges(here: Here) -> None:
    here.install()
    here.server.faults.no_ranges = True
    (here.site / "demo/__init__.py").write_text(LONG_TEXT + "more\n")
    assert here.patched().edits


def test_nobody_offers_the_wheel(here: Here) -> None:
    wheel = make_wheel(here.tmp / "private", "demo", "1.0", FILES)
    envs.install(wheel, here.env)
    (here.site / "demo/__init__.py").write_text("x\n")
    assert isinstance(here.prove(), NotProved)


def test_another_wheel_of_that_name_is_not_taken(here: Here) -> None:
    envs.install(make_wheel(here.tmp / "private", "demo", "1.0", FILES), here.env)
    make_wheel(here.server.directory, "demo", "1.0", {**FILES, "demo/crlf.py": "another\n"})
    (here.site / "demo/__init__.py").write_text("x\n")
    verdict = here.prove()
    assert isinstance(verdict, NotProved)
    assert "demo/crlf.py" in verdict.reason


def test_an_edit_of_another_original_is_not_taken(here: Here) -> None:
    """The edited file's original is in RECORD: a wheel with another original is not it."""
    envs.install(make_wheel(here.tmp / "private", "demo", "1.0", FILES), here.env)
    make_wheel(here.server.directory, "demo", "1.0", {**FILES, "demo/__init__.py": "other\n"})
    (here.site / "demo/__init__.py").write_text("x\n")
    assert isinstance(here.prove(), NotProved)


def test_a_wheel_that_lies_in_its_record(here: Here) -> None:
    """It states the hash that the installed file had, and holds something else."""
    envs.install(make_wheel(here.tmp / "private", "demo", "1.0", FILES), here.env)
    claim = "sha256=" + _b64(LONG_TEXT.encode())
    lie = {**FILES, "demo/__init__.py": "import evil\n"}
    make_wheel(here.server.directory, "demo", "1.0", lie, claims={"demo/__init__.py": claim})
    (here.site / "demo/__init__.py").write_text("x\n")
    verdict = here.prove()
    assert isinstance(verdict, NotProved)
    assert "RECORD" in verdict.reason


def _b64(content: bytes) -> str:
    from tests.support.fakeindex import record_hash

    return record_hash(content).removeprefix("sha256=")


def test_a_damaged_member(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.install()
    (here.site / "demo/__init__.py").write_text("x\n")
    read = compare.RemoteZip.read

    def damaged(self: Any, name: str, limit: int) -> bytes:
        if name == "demo/__init__.py":
            raise compare.BadZip("damaged")
        return read(self, name, limit)

    monkeypatch.setattr(compare.RemoteZip, "read", damaged)
    assert isinstance(here.prove(), NotProved)


def test_too_many_edits_are_packed(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.install()
    monkeypatch.setattr(patches, "MAX_CHANGED", 1)
    for name in ("__init__.py", "pure.py"):
        (here.site / "demo" / name).write_text("x\n")
    assert isinstance(here.prove(), NotProved)


def test_a_large_original_is_not_read(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.install()
    monkeypatch.setattr(patches, "MAX_ORIGINALS", 100)
    (here.site / "demo/__init__.py").write_text("x\n")
    (edit,) = here.patched().edits
    assert (edit.kind, edit.before) == ("file", None)


def test_a_file_that_changes_while_it_is_read(here: Here) -> None:
    here.install()
    (here.site / "demo/__init__.py").write_text("x\n")
    snapshot = envs.look(here.env)
    item = envs.seen(snapshot, "demo")
    (here.site / "demo/__init__.py").write_text("y\n")
    place = {s.path: layout(s, snapshot.interpreter) for s in snapshot.sites}[item.dist.site]
    with pytest.raises(ArtifactError, match="changed"):
        prove_edited(item, here.prover(), place)


def test_an_unedited_distribution_is_not_looked_for(here: Here) -> None:
    here.install()
    assert isinstance(here.prove(), NotProved)
    assert not here.server.requests


def test_a_forged_note_is_not_believed(here: Here) -> None:
    here.install()
    (here.site / "demo/tests/test_x.py").unlink()
    one = here.patched()
    (note,) = (here.cache.root / "patches").rglob("*.json")
    for data in (b"{", b'{"edits": [{"path": "site/../x", "kind": "deleted"}], "archive": null}'):
        note.write_bytes(data)
        assert here.patched() == one


def test_changed_modes(here: Here) -> None:
    here.install(
        scripts={"run": "#!/bin/sh\n"},
        entry_points="[console_scripts]\ntool = demo:main\n",
        modes={"demo/fast.so": 0o100755},
    )
    item = envs.seen(envs.look(here.env), "demo")
    proof = here.prover().prove(item.dist)
    assert isinstance(proof, WheelProof)
    assert proof.executable == {"site/demo/fast.so", "scripts/run"}
    assert patches.modes(item, proof.executable) == []
    (here.site / "demo/fast.so").chmod(0o644)
    (here.site / "demo/pure.py").chmod(0o755)
    (here.env / "bin/run").chmod(0o644)
    (here.env / "bin/tool").chmod(0o644)
    other = envs.seen(envs.look(here.env), "demo")
    assert other.tree != item.tree
    found = patches.modes(other, proof.executable)
    assert [(edit.path, edit.kind, edit.executable) for edit in found] == [
        ("scripts/run", "mode", False),
        ("scripts/tool", "mode", False),
        ("site/demo/fast.so", "mode", False),
        ("site/demo/pure.py", "mode", True),
    ]
    assert not patches.needs_archive(found)
    told = [Edit(path="site/demo/pure.py", kind="file", after=D, executable=True)]
    assert len(patches.modes(other, proof.executable, told)) == 3
