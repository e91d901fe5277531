"""A difference with what it may do to results, by our rules and the user's own."""

from __future__ import annotations

from pathlib import Path

from envfreeze.diff import judge
from envfreeze.diff.compare import Difference
from envfreeze.errors import UsageError
from envfreeze.model import toml
from envfreeze.store import disk_errors, write_atomic

PROJECT = "pyproject.toml"
_LIMIT = 4 * 1024 * 1024


def judged(difference: Difference, start: Path | None = None) -> judge.Judgement:
    """*difference*, judged; the user's rules are those of the project around *start*.

    :param start: a directory; None: the working directory.
    :raises UsageError: a rule of theirs that cannot be read.
    """
    if not difference.changes:
        return judge.judge(difference)
    return judge.judge(difference, _own(start or Path.cwd()))


def _own(start: Path) -> list[judge.Rule]:
    """``[[tool.envfreeze.rules]]`` of the nearest pyproject.toml, as other tools look for it."""
    path = next((d / PROJECT for d in (start, *start.parents) if (d / PROJECT).is_file()), None)
    return [] if path is None else read(path)


def read(path: Path) -> list[judge.Rule]:
    """The rules of one pyproject.toml; none where it has none.

    :raises UsageError: it has some that cannot be read.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LIMIT).decode("utf-8")
        rows = toml.load(text).get("tool", {}).get("envfreeze", {}).get("rules", [])
    except (OSError, ValueError, AttributeError, RecursionError):
        return []  # Whoever else reads it says what is wrong with it: here are no rules of ours.
    try:
        return judge.parse(rows)
    except judge.RulesError as error:
        hint = "A rule has an id, a level (" + ", ".join(judge.LEVELS) + "), a reason and a source."
        raise UsageError(f"{path}: [[tool.envfreeze.rules]]: {error}", hint=hint) from error


def write_text(path: Path, text: str) -> None:
    """A report as a file, whole or not at all."""
    with disk_errors(path):
        write_atomic(path, text.encode("utf-8"))
