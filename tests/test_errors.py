"""Every failure has its own exit code, and prints nothing that a terminal would obey."""

from __future__ import annotations

import pytest

from envfreeze import errors
from envfreeze.errors import EnvfreezeError, Exit, printable

KINDS = {
    errors.UsageError: 2,
    errors.TargetError: 3,
    errors.NotHermeticError: 4,
    errors.LockError: 5,
    errors.EngineError: 6,
    errors.MissingExtraError: 7,
    errors.ArtifactError: 8,
    errors.IndexUnavailableError: 8,
    errors.DamagedEntryError: 8,
    errors.DiskError: 9,
    errors.CacheError: 9,
}


def test_every_kind_is_here() -> None:
    found = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, EnvfreezeError)
    }
    assert found == {*KINDS, EnvfreezeError}


@pytest.mark.parametrize(("kind", "code"), KINDS.items())
def test_exit_codes(kind: type[EnvfreezeError], code: int) -> None:
    assert kind("x").exit_code == code


def test_exit_codes_do_not_move() -> None:
    assert [int(code) for code in Exit] == [*range(10), 130]


def test_what_and_what_next() -> None:
    error = errors.DiskError("what\nwhy \x1b[31m", hint="next\x07")
    assert str(error) == "what\nwhy \\x1b[31m"
    assert error.hint == "next\\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 \t\n", "plain é 漢 \t\n"),
        ("\x1b]0;t\x07", "\\x1b]0;t\\x07"),
        ("a\rb", "a\\x0db"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\u2028\u2029", "\\u2028\\u2029"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
