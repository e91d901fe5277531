"""``envfreeze doctor``."""

from pathlib import Path
from typing import Annotated

import typer

from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import Json, Quiet
from envfreeze.cli.terminal import context_for
from envfreeze.errors import Exit

app = command_app()


@app.command()
@guard
def doctor(
    lock: Annotated[
        Path | None,
        typer.Argument(metavar="LOCK", help="The lock file; without it: what is active here."),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Will it run on this machine? Exit 0: nothing speaks against it; 1: a problem, and its fix."""
    from envfreeze import workflow
    from envfreeze.doctor import report

    examined = workflow.doctor(lock, context_for(quiet))
    if json:
        typer.echo(report.as_json(examined.checks, examined.subject), nl=False)
    elif not quiet:
        typer.echo(report.as_text(examined.checks, examined.subject), nl=False)
    raise typer.Exit(Exit.OK if report.runs(examined.checks) else Exit.NO)
