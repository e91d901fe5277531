"""``envfreeze pull``."""

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
def pull(
    image: Annotated[str, typer.Argument(metavar="REF", help="HOST/NAME:TAG, or by digest.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The lock to write.")] = Path(
        "env.lock"
    ),
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Get the lock of an image back from its registry. Exit 1: without all that it packs."""
    from envfreeze import workflow
    from envfreeze.cli import summary

    pulled = workflow.pull(image, output, context_for(quiet))
    if json:
        typer.echo(summary.pulled_json(pulled, output), nl=False)
    elif not quiet:
        typer.echo(summary.pulled_text(pulled, output), nl=False)
    if pulled.missing and not json:
        typer.echo(summary.missing_text(pulled), nl=False, err=True)
    raise typer.Exit(Exit.NO if pulled.missing else Exit.OK)
