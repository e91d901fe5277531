"""Which lines of Requires-Dist a lock keeps."""

from __future__ import annotations

import pytest

from envfreeze.model.requirement import asked_for, kept, marker_terms
from tests.support import locks

TERMS = marker_terms(locks.interpreter(), "Linux")


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("there", True),
        ("There (>=1)", True),
        ("there[x,y]>=1; python_version >= '3.8'", True),
        ("there; python_version < '3'", False),
        ("there; extra == 'x'", True),
        ("there; extra == 'x' and sys_platform == 'win32'", False),
        ("absent", True),
        ("absent; extra == 'x'", False),
        ("absent; sys_platform == 'linux'", True),
        ("there; what is this", True),
        (">=1", False),
        ("there>=" + "1" * 1000, False),
    ],
)
def test_what_says_something_of_the_environment_is_kept(line: str, stays: bool) -> None:
    assert bool(kept([line], {"there"}, TERMS)) is stays


def test_a_line_stays_a_line_and_is_kept_once() -> None:
    assert kept(["there \t>=1", "there >=1", "there\x0b>=1"], {"there"}, TERMS) == ["there >=1"]


@pytest.mark.parametrize(
    ("requested", "installer", "asked"),
    [(True, "pip\n", True), (True, None, True), (True, "uv 0.9", False), (False, "pip", False)],
)
def test_not_every_installer_tells_what_was_asked_for(
    requested: bool, installer: str | None, asked: bool
) -> None:
    assert asked_for(requested, installer) is asked
