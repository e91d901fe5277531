"""What ``diff`` and ``verify`` were asked, and their answers in each format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from envfreeze.diff import deep, report
from envfreeze.diff.compare import LAYERS, Layer
from envfreeze.diff.deep import FileDifference
from envfreeze.diff.judge import LEVELS, Judgement, Level
from envfreeze.errors import UsageError, printable

FORMATS = ("text", "json", "markdown", "html")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which layers are compared, and what makes the answer a no."""

    layers: tuple[Layer, ...] = LAYERS
    fail_on: Level | None = None
    satisfies: bool = False

    @classmethod
    def of(
        cls, only: Sequence[str] | None, fail_on: str | None, *, satisfies: bool = False
    ) -> Asked:
        """
        :raises UsageError: no layer, or no level, of that name; two ways to say what a no is.
        """
        if satisfies and fail_on is not None:
            raise UsageError(
                "--satisfies and --fail-on both say what is a no", hint="Give one of them."
            )
        wanted = [_one_of(name, get_args(Layer), "layer") for name in only or ()]
        layers = tuple(layer for layer in LAYERS if layer in wanted) or LAYERS
        level = None if fail_on is None else _one_of(fail_on, LEVELS, "level")
        return cls(layers=layers, fail_on=level, satisfies=satisfies)  # type: ignore[arg-type]

    def passes(self, judgement: Judgement) -> bool:
        if self.fail_on is not None:
            return not judgement.reaches(self.fail_on)
        return judgement.satisfied if self.satisfies else judgement.difference.equal


def _one_of(name: str, known: Sequence[str], what: str) -> str:
    if name not in known:
        hint = f"The {what}s: {', '.join(known)}."
        raise UsageError(f"no {what} is called {printable(name)!r}", hint=hint)
    return name


def format_of(name: str) -> str:
    """
    :raises UsageError: there is no such format.
    """
    return _one_of(name, FORMATS, "format")


def as_json(judgement: Judgement, files: list[FileDifference] | None = None) -> str:
    return report.as_json(judgement.difference, files).decode()


def rendered(
    judgement: Judgement,
    format: str,
    *,
    explain: bool,
    files: list[FileDifference] | None = None,
) -> str:
    """*judgement* in one of :data:`FORMATS`.

    :param files: of ``--files``.
    """
    if format == "json":
        return as_json(judgement, files)
    text = report.as_text(judgement, explain=explain)
    return text + deep.as_text(files) if files else text


def verified_text(judgement: Judgement, asked: Asked, *, explain: bool) -> str:
    """The answer of ``verify``: it says so where differences are let pass."""
    text = report.as_text(judgement, explain=explain)
    if judgement.difference.equal:
        return f"verified: {text}" if asked.passes(judgement) else text
    return f"satisfied: {text}" if asked.passes(judgement) else text
