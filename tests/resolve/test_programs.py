"""Programs that are asked for by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from envfreeze.errors import UsageError
from envfreeze.resolve.programs import find, interpreters
from envfreeze.resolve.rootfs import Root

PATH = "relative:/usr/local/bin:/usr/bin:/etc/passwd"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    for name, text in (
        ("usr/bin/git", "\x7fELF"),
        ("usr/bin/env", "\x7fELF"),
        ("usr/bin/perl", "\x7fELF"),
        ("usr/bin/tool", "#!/usr/bin/env -S LANG=C perl -w\n"),
        ("usr/bin/data", "text"),
        ("relative/git", "\x7fELF"),
        ("etc/passwd", "root"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if "bin/" in name and "data" not in name else 0o644)
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (tmp_path / "usr/local/bin/ffmpeg").symlink_to("/opt/ffmpeg/bin/ffmpeg")
    (tmp_path / "opt/ffmpeg/bin").mkdir(parents=True)
    (tmp_path / "opt/ffmpeg/bin/ffmpeg").write_text("\x7fELF")
    (tmp_path / "opt/ffmpeg/bin/ffmpeg").chmod(0o755)
    return Root(tmp_path)


def test_by_name_and_by_path(root: Root) -> None:
    found = find(root, ("git", "ffmpeg", "/usr/bin/git", "git"), PATH)
    assert [(p.name, p.path, p.real) for p in found] == [
        ("git", "/usr/bin/git", "/usr/bin/git"),
        ("ffmpeg", "/usr/local/bin/ffmpeg", "/opt/ffmpeg/bin/ffmpeg"),
    ]


def test_a_script_needs_its_interpreter(root: Root) -> None:
    assert [p.name for p in find(root, ("tool",), PATH)] == ["tool", "env", "perl"]


def test_first_lines() -> None:
    assert list(interpreters(b"#!/bin/sh -e\nx")) == ["/bin/sh"]
    assert list(interpreters(b"#! /usr/bin/env python3\n")) == ["/usr/bin/env", "python3"]
    assert list(interpreters(b"\x7fELF")) == []
    assert list(interpreters(b"#!relative\n")) == []


@pytest.mark.parametrize("name", ["absent", "data", "", ".", "..", "a\nb", "bin/git", "/usr/bin"])
def test_what_is_not_there_says_so(root: Root, name: str) -> None:
    with pytest.raises(UsageError, match="no such program on PATH") as caught:
        find(root, (name,), PATH)
    assert "\n" not in str(caught.value)


def test_the_interpreter_of_a_script_that_is_not_there(root: Root) -> None:
    (root.path / "usr/bin/perl").unlink()
    with pytest.raises(UsageError, match="'perl', which 'tool' is a script for"):
        find(root, ("tool",), PATH)
