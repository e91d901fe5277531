"""Who looks, and who can be asked: a person at a terminal, or a script."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

from envfreeze.errors import UsageError, printable

if TYPE_CHECKING:
    from envfreeze.workflow import Context


def context_for(quiet: bool) -> Context:
    """What a command runs with; who looks at a terminal sees how far it is."""
    from envfreeze import workflow

    if quiet or not sys.stderr.isatty():
        return workflow.Context()
    from envfreeze.cli.progress import Bars

    return workflow.Context(progress=Bars())


def ask(text: str, question: str, yes: bool, quiet: bool) -> bool:
    """Whether what *text* says may be done. On a terminal a person is asked.

    :raises UsageError: there is nobody to ask, and no ``--yes``.
    """
    if yes:
        if not quiet:
            typer.echo(text, err=True)
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"something would be removed, and there is no terminal to ask at:\n{text}",
            hint="Add --yes if that is right.",
        )
    typer.echo(text, err=True)
    return typer.confirm(printable(question), err=True)


def shown(text: str) -> str:
    """*text* as it is, unless a person reads it on a terminal."""
    import shutil

    if not sys.stdout.isatty():
        return text
    from envfreeze.cli.coloured import on_terminal  # rich takes its time to be imported.

    return on_terminal(text, shutil.get_terminal_size().columns, os.environ)
