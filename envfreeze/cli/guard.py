"""What is around every command: its app, and the way out of an error."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable

import typer

from envfreeze.errors import EnvfreezeError, Exit, printable


def command_app(help: str | None = None) -> typer.Typer:
    """What the command of a module is registered with, or a family of commands, which has *help*
    of its own."""
    return typer.Typer(
        no_args_is_help=help is not None,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help=help,
    )


def guarded(command: Callable[[], object]) -> int:
    """Run *command*; its exit code, an error printed with its next step.

    The only place that turns an error into an exit. It stands around each command, since
    typer has its own idea of what an interrupt or a closed pipe should say.
    """
    try:
        command()
    except EnvfreezeError as error:
        typer.echo(f"envfreeze: {error}", err=True)
        if error.hint:
            typer.echo(f"  {error.hint}".replace("\n", "\n  "), err=True)
        return int(error.exit_code)
    except KeyboardInterrupt as stop:
        said = str(stop) or "nothing was left half-written"
        typer.echo(f"envfreeze: interrupted; {printable(said)}", err=True)
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except OSError as error:
        place = f" {printable(str(error.filename))}" if error.filename else ""
        typer.echo(f"envfreeze: the file system refused{place}: {error.strerror}", err=True)
        return int(Exit.DISK)
    return int(Exit.OK)


def guard(function: Callable[..., None]) -> Callable[..., None]:
    """*function*, which ends with its exit code."""

    @functools.wraps(function)
    def guarded_command(**given: object) -> None:
        raise typer.Exit(guarded(lambda: function(**given)))

    return guarded_command
