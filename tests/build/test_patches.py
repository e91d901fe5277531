"""Edits over a wheel's files: exactly the bytes that the lock names, or nothing."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envfreeze.build.patches import Patches, apply
from envfreeze.errors import ArtifactError, LockError
from envfreeze.model.lock import Edit
from envfreeze.resolve.patches import diff, parse

BEFORE = b"".join(b"line %d\n" % n for n in range(40))
AFTER = BEFORE.replace(b"line 5\n", b"line five\r\n").removesuffix(b"\n")
BINARY = b"\x7fELF\0" * 100


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


TEXT = Edit(path="site/a.py", kind="text", before=sha256(BEFORE), after=sha256(AFTER))
WHOLE = Edit(path="site/a.so", kind="file", before=sha256(b"old"), after=sha256(BINARY))
GONE = Edit(path="site/b.py", kind="deleted")
MEMBERS = {"patch": diff("site/a.py", BEFORE, AFTER), f"files/{WHOLE.after}": BINARY}


def archive(tmp_path: Path, members: Any = MEMBERS) -> Path:
    path = tmp_path / "edits.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def changed(edit: Edit, **fields: Any) -> Edit:
    known = {name: getattr(edit, name) for name in edit.__struct_fields__}
    return Edit(**(known | fields))


def run(edits: list[Edit], path: Path | None, wheel: dict[str, bytes]) -> dict[str, bytes | None]:
    done: dict[str, bytes | None] = {}
    with Patches(edits, path) as patches:
        for key, content in wheel.items():
            if key in patches:
                stream = patches.patched(key, io.BytesIO(content))
                done[key] = None if stream is None else stream.read()
    return done


WHEEL = {"site/a.py": BEFORE, "site/a.so": b"old", "site/b.py": b"b", "site/c.py": b"c"}


def test_every_kind(tmp_path: Path) -> None:
    done = run([TEXT, WHOLE, GONE], archive(tmp_path), WHEEL)
    assert done == {"site/a.py": AFTER, "site/a.so": BINARY, "site/b.py": None}


def test_the_results_are_streams_to_go_back_in(tmp_path: Path) -> None:
    """A script's first line is looked at before the rest is copied."""
    with Patches([TEXT, WHOLE], archive(tmp_path)) as patches:
        for key in patches.keys:
            stream = patches.patched(key, io.BytesIO(WHEEL[key]))
            assert stream is not None
            whole = stream.readline(10) + stream.read()
            stream.seek(0)
            assert stream.read() == whole
            assert sha256(whole) == patches[key].after


def test_only_deletions_need_no_archive() -> None:
    assert run([GONE], None, WHEEL) == {"site/b.py": None}


def test_without_edits() -> None:
    assert run([], None, WHEEL) == {}


TEXTS = st.text(alphabet="ab\n\r\x0c\x85\u2028é", max_size=40).map(str.encode)


@given(TEXTS, TEXTS)
@settings(deadline=None)
def test_apply(before: bytes, after: bytes) -> None:
    if before == after:
        return
    edit = changed(TEXT, before=sha256(before), after=sha256(after))
    hunks = parse(diff(edit.path, before, after))[edit.path]
    assert apply(edit, hunks, before) == after
    with pytest.raises(ArtifactError):
        apply(edit, hunks, before + b"x")
    with pytest.raises(ArtifactError):
        apply(changed(edit, after="0" * 64), hunks, before)


@given(TEXTS, st.binary(max_size=120))
@settings(deadline=None)
def test_nothing_but_what_the_lock_names(before: bytes, noise: bytes) -> None:
    """Whatever the patch says, it gives the named bytes or fails."""
    edit = changed(TEXT, before=sha256(before), after=sha256(b"wanted"))
    try:
        hunks = parse(b"--- a/site/a.py\n+++ b/site/a.py\n@@ -0,0 +1,1 @@\n+" + noise)
        done = apply(edit, hunks["site/a.py"], before)
    except (ArtifactError, KeyError):
        return
    assert done == b"wanted"


def test_another_original(tmp_path: Path) -> None:
    for key in ("site/a.py", "site/a.so"):
        with pytest.raises(ArtifactError, match="expected sha256"):
            run([TEXT, WHOLE, GONE], archive(tmp_path), {**WHEEL, key: b"evil"})


def test_a_larger_original_is_not_read_to_its_end(tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        count = 0

        def read(self, size: int = -1) -> bytes:
            assert size > 0
            self.count += size
            return b"x" * size

    with Patches([TEXT], archive(tmp_path, {"patch": MEMBERS["patch"]})) as patches:
        endless = Endless()
        with pytest.raises(ArtifactError):
            patches.patched("site/a.py", endless)  # type: ignore[arg-type]
        assert endless.count < 2 << 20


def test_an_edit_that_meets_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"site/b\.py"):
        run([TEXT, WHOLE, GONE], archive(tmp_path), {k: WHEEL[k] for k in list(WHEEL)[:2]})


@pytest.mark.parametrize(
    ("edits", "members"),
    [
        pytest.param([WHOLE], MEMBERS, id="a patch that the lock does not name"),
        pytest.param([TEXT], MEMBERS, id="a file that the lock does not name"),
        pytest.param([TEXT], {}, id="no patch"),
        pytest.param([WHOLE], {}, id="no file"),
        pytest.param([GONE], {"patch": b""}, id="more than deletions"),
        pytest.param([TEXT, TEXT], {"patch": MEMBERS["patch"]}, id="edited twice"),
        pytest.param(
            [changed(TEXT, path="site/other.py")],
            {"patch": MEMBERS["patch"]},
            id="a patch for another file",
        ),
        pytest.param(
            [TEXT],
            {"patch": MEMBERS["patch"] + diff("site/../../etc/x", b"", b"x\n")},
            id="a patch for one file more",
        ),
        pytest.param([TEXT], {"patch": MEMBERS["patch"][:-20]}, id="a patch cut short"),
        pytest.param([changed(GONE, path="site/../x")], {}, id="a path that leads out"),
        pytest.param(
            [changed(WHOLE, after="../x")], {"files/../x": b""}, id="a digest that is none"
        ),
        pytest.param([TEXT], {"patch": b"\n" * (20 << 20)}, id="a bomb"),
    ],
)
def test_an_archive_against_the_lock(tmp_path: Path, edits: list[Edit], members: Any) -> None:
    with pytest.raises((LockError, ArtifactError)):
        run(edits, archive(tmp_path, members), WHEEL)


def test_a_whole_file_with_other_bytes(tmp_path: Path) -> None:
    path = archive(tmp_path, {f"files/{WHOLE.after}": b"evil"})
    with pytest.raises(ArtifactError, match="expected sha256"):
        run([WHOLE], path, WHEEL)


def test_no_archive_where_bytes_are_needed() -> None:
    for edit in (TEXT, WHOLE):
        with pytest.raises(LockError):
            run([edit], None, WHEEL)


@pytest.mark.parametrize("cut", [10, 100, -1])
def test_an_archive_that_is_none(tmp_path: Path, cut: int) -> None:
    path = archive(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArtifactError):
        run([TEXT, WHOLE], path, WHEEL)


def test_an_archive_damaged_inside(tmp_path: Path) -> None:
    path = archive(tmp_path)
    data = bytearray(path.read_bytes())
    data[45:60] = b"\xff" * 15
    path.write_bytes(data)
    with pytest.raises(ArtifactError):
        run([TEXT, WHOLE], path, WHEEL)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_method_that_we_do_not_use(tmp_path: Path, method: int) -> None:
    path = tmp_path / "edits.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("patch", MEMBERS["patch"])
    with pytest.raises(ArtifactError, match="method"):
        run([TEXT], path, WHEEL)


def test_a_member_twice(tmp_path: Path) -> None:
    path = archive(tmp_path, {"patch": MEMBERS["patch"]})
    with (
        zipfile.ZipFile(path, "a") as made,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        made.writestr("patch", MEMBERS["patch"])
    with pytest.raises(LockError):
        run([TEXT], path, WHEEL)


def test_a_failure_elsewhere_is_not_covered(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"), Patches([GONE], None):
        raise KeyError("mine")
