"""``envfreeze templates``."""

from pathlib import Path
from typing import Annotated

import typer

from envfreeze.cli.guard import command_app, guard

app = command_app()


@app.command()
@guard
def templates(
    into: Annotated[Path, typer.Argument(metavar="DIR", help="The directory to write them to.")],
) -> None:
    """Write a copy of the templates of an image, to change it: envfreeze build --template DIR."""
    from envfreeze import workflow

    for name in workflow.templates(into):
        typer.echo(into / name)
