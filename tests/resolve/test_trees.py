"""The files behind a tree digest."""

from __future__ import annotations

from envfreeze.model.identity import NOT_EXECUTABLE
from envfreeze.resolve import trees

ONE, TWO = "1" * 64, "2" * 64


def test_a_mode_is_told_apart_from_content() -> None:
    before = {"site/a": ONE, "site/b": f"{ONE} executable", "site/c": ONE, "scripts/d": ONE}
    after = {
        "site/a": f"{ONE} executable",
        "site/b": ONE,
        "site/c": f"{TWO} executable",
        "scripts/d": f"{ONE} {NOT_EXECUTABLE}",
        "scripts/made": NOT_EXECUTABLE,
    }
    assert trees.modes(before, after) == [
        "scripts/d is no longer executable",
        "scripts/made is no longer executable",
        "site/a is executable",
        "site/b is no longer executable",
    ]
    assert trees.modes(after, before)[:2] == [
        "scripts/d is executable",
        "scripts/made is executable",
    ]
    assert "site/c" in trees.differing(before, after)
    assert trees.modes({"site/x": ONE}, {}) == []
