"""What differs in a file, told from its bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envfreeze.diff import deep
from envfreeze.diff.deep import Content, FileDifference, Library, Place, Readers
from envfreeze.resolve import patches


def library(data: bytes) -> Library | None:
    """A library of these tests: ``LIB soname needed symbol symbol``, in bytes that are no text."""
    if not data.startswith(b"\0LIB "):
        return None
    soname, needed, *symbols = data[5:].decode().split()
    known = None if symbols == ["unknown"] else frozenset(symbols)
    return Library(soname=soname, needed=(needed,), symbols=known)


READERS = Readers(unified=patches.diff, library=library)
PLACE = Place("packages", "alpha", "site/alpha/x")


def content(data: bytes) -> Content:
    return Content(word=hashlib.sha256(data).hexdigest(), data=data, size=len(data))


def compare(before: bytes | None, after: bytes | None) -> FileDifference:
    one, two = (None if data is None else content(data) for data in (before, after))
    return deep.compare(PLACE, one, two, READERS)


def test_a_text_has_a_unified_diff() -> None:
    found = compare(b"a = 1\nb = 2\n", b"a = 1\nb = 3\n")
    assert found.kind == "text"
    assert found.diff.splitlines()[2:] == ["@@ -1,2 +1,2 @@", " a = 1", "-b = 2", "+b = 3"]
    assert (found.size_before, found.size_after) == (12, 12)
    assert found.sha256_after == hashlib.sha256(b"a = 1\nb = 3\n").hexdigest()


def test_a_file_that_one_side_lacks_is_all_new_or_all_gone() -> None:
    new, gone = compare(None, b"a\n"), compare(b"a\n", None)
    assert new.diff.splitlines()[2:] == ["@@ -0,0 +1,1 @@", "+a"]
    assert new.sha256_before is None
    assert gone.diff.splitlines()[2:] == ["@@ -1,1 +0,0 @@", "-a"]
    assert gone.size_after is None
    assert "+ site/alpha/x" in deep.as_text([new])
    assert "- site/alpha/x" in deep.as_text([gone])


def test_a_long_diff_is_cut_and_says_so() -> None:
    found = compare(b"", b"".join(b"%d\n" % n for n in range(1000)))
    assert found.diff.count("\n") == deep.LINES
    assert found.lines_left_out == 1003 - deep.LINES
    assert "and 603 more lines" in deep.as_text([found])


def test_a_library_tells_what_it_needs_and_defines() -> None:
    found = compare(b"\0LIB libx.so.1 libz.so.1 f g", b"\0LIB libx.so.2 libm.so.6 g h")
    assert found.kind == "library"
    assert found.library is not None
    assert found.library.symbols == deep.Names(removed=["f"], added=["h"])
    assert found.diff == ""
    text = deep.as_text([found])
    for line in (
        "SONAME libx.so.1 -> libx.so.2",
        "- NEEDED libz.so.1",
        "+ NEEDED libm.so.6",
        "- symbols f",
        "+ symbols h",
    ):
        assert f"      {line}\n" in text


def test_symbols_that_cannot_be_read_are_no_lost_symbols() -> None:
    found = compare(b"\0LIB x z f g", b"\0LIB x z unknown")
    assert found.library is not None
    assert not found.library.symbols.any
    assert "cannot be read" in deep.as_text([found])


def test_many_symbols_are_counted() -> None:
    names = " ".join(f"s{n:04}" for n in range(500))
    found = compare(b"\0LIB x z keep", f"\0LIB x z keep {names}".encode())
    assert found.library is not None
    assert len(found.library.symbols.added) == deep.NAMES
    assert found.library.symbols.more_added == 300
    assert "and 488 more" in deep.as_text([found])


def test_other_bytes_have_sizes_and_digests() -> None:
    found = compare(b"\0\1", b"\0\1\2")
    assert (found.kind, found.size_before, found.size_after) == ("binary", 2, 3)
    assert hashlib.sha256(b"\0\1\2").hexdigest()[:12] in deep.as_text([found])


def test_bytes_that_are_not_here_are_said_to_be_not_here() -> None:
    absent = Content(word="f" * 64, problem="bytes not here: x.whl is not in the cache")
    found = deep.compare(PLACE, absent, content(b"a"), READERS)
    assert found.kind == "unread"
    assert found.sha256_before == "f" * 64
    assert "bytes not here: x.whl" in deep.as_text([found])


@pytest.mark.parametrize(
    ("one", "two", "diff"),
    [
        (Content(word="-> a"), Content(word="-> b"), "--> a\n+-> b\n"),
        (content(b"x"), Content(word="-> b"), "-a file\n+-> b\n"),
        (Content(word="-> a"), None, "--> a\n+not there\n"),
    ],
)
def test_a_link_is_not_followed(one: Content, two: Content | None, diff: str) -> None:
    found = deep.compare(PLACE, one, two, READERS)
    assert (found.kind, found.diff) == ("link", diff)


def test_a_hostile_file_cannot_move_the_cursor() -> None:
    found = deep.compare(
        Place("packages", "evil\x1b[2J", "a\nb"), None, content(b"\x1b[2J\r\xe2\x80\xae\n"), READERS
    )
    text = deep.as_text([found])
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\u202e" not in text
    assert "a\\nb" in text


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_swapped_sides_swap_what_is_said(one: bytes, two: bytes) -> None:
    there, back = compare(one, two), compare(two, one)
    assert there.kind == back.kind
    assert (there.sha256_before, there.size_after) == (back.sha256_after, back.size_before)

    def marks(found: FileDifference, mark: str) -> int:
        return sum(line.startswith(mark) for line in found.diff.split("\n")[2:])

    assert marks(there, "+") == marks(back, "-")


def test_what_is_not_compared_has_a_line_each_in_one_place() -> None:
    known = compare(b"a\n", b"b\n")
    absent = [
        FileDifference(
            layer="packages", name=f"p{n:02}", path="", kind="unread", problem="not here"
        )
        for n in range(25)
    ]
    lines = deep.as_text([*absent[:3], known, *absent[3:]]).splitlines()
    place = lines.index("Not compared file by file")
    assert lines[1] == "Files of alpha (packages)"
    assert lines[place + 1] == "  ? p00  not here"
    assert lines[place + 21 :] == ["  ... and 5 more (--json lists all)"]


def test_no_files_are_no_text() -> None:
    nothing: list[Any] = []
    assert deep.as_text(nothing) == ""
