"""What a program says while it runs."""

from __future__ import annotations

from envfreeze.build.said import Last, lines


def test_lines_come_whole_and_can_be_shown() -> None:
    assert list(lines([b"a", b"b\nc\r\n\x1b[2J", b"d"])) == ["ab", "c", "\\x1b[2Jd"]


def test_a_line_without_end_is_cut() -> None:
    found = list(lines([b"x" * 40_000] * 4))
    assert "".join(found) == "x" * 160_000
    assert max(map(len, found)) < 120_000


def test_the_last_lines_are_kept_and_all_are_passed_on() -> None:
    heard: list[str] = []
    last = Last(heard.append)
    last.hear([b"%d\n" % n for n in range(20)])
    assert heard == [str(n) for n in range(20)]
    assert last.text == "".join(f"\n  {n}" for n in range(12, 20))
