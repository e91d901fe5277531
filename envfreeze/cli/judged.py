"""What ``diff`` and ``verify`` were asked, and their answers in each format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from envfreeze.diff import report
from envfreeze.diff.compare import LAYERS, Layer
from envfreeze.diff.judge import LEVELS, Judgement, Level
from envfreeze.errors import UsageError, printable

if TYPE_CHECKING:
    from envfreeze.diff.deep import FileDifference
    from envfreeze.diff.summary import Summary

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
    from envfreeze.diff import jsonreport

    return jsonreport.as_json(judgement, files).decode()


def rendered(
    judgement: Judgement,
    format: str,
    summary: Callable[[], Summary],
    *,
    files: list[FileDifference] | None = None,
    explain: bool = False,
) -> str:
    """*judgement* in one of :data:`FORMATS`.

    :param files: what ``--files`` found; None: it was not asked for.
    """
    if format == "json":
        return as_json(judgement, files)
    if format == "markdown":
        from envfreeze.diff import markdown

        return markdown.as_markdown(judgement)
    if format == "html":
        from envfreeze.diff import html

        return html.as_html(judgement, summary(), files or ())
    text = report.as_text(judgement, explain=explain)
    return text + _files(files) if files else text


def _files(files: list[FileDifference]) -> str:
    from envfreeze.diff import deep

    return deep.as_text(files)


def verified_text(judgement: Judgement, asked: Asked, *, explain: bool) -> str:
    """The answer of ``verify``: it says so where differences are let pass."""
    text = report.as_text(judgement, explain=explain)
    word = "verified" if judgement.difference.equal else "satisfied"
    return f"{word}: {text}" if asked.passes(judgement) else text
