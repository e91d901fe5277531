"""``envfreeze show``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import Json, LockPath
from envfreeze.errors import Exit, UsageError

if TYPE_CHECKING:
    from envfreeze.model.lock import Lock

app = command_app()


@app.command()
@guard
def show(
    lock: LockPath,
    tree: Annotated[
        bool, typer.Option("--tree", help="What needs what: distributions and conda packages.")
    ] = False,
    why: Annotated[
        str | None,
        typer.Option(
            "--why", metavar="NAME", help="Why a package is in it. Exit 1: it is not in it."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """A lock at a glance: what is in it, what it was captured on, what was noticed."""
    import shutil

    from envfreeze import workflow
    from envfreeze.cli import page

    if tree and why is not None:
        raise UsageError("--tree and --why are two questions", hint="Ask one of them.")
    found = workflow.load(lock)
    if tree or why is not None:
        _needs(found, why, json)
    elif json:
        from envfreeze.model import printed

        typer.echo(printed.as_json(found), nl=False)
    else:
        width = min(110, shutil.get_terminal_size((100, 24)).columns)
        typer.echo(page.page(found, str(lock), width=width), nl=False)


def _needs(lock: "Lock", name: str | None, json: bool) -> None:
    """The tree of *lock*, or why it has *name*."""
    import shutil

    from envfreeze.cli import tree
    from envfreeze.model.graph import graph
    from envfreeze.model.why import why

    known = graph(lock)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if name is None:
        typer.echo(tree.tree_json(known) if json else tree.tree_text(known, width), nl=False)
        return
    found = why(lock, known, name)
    if json:
        typer.echo(tree.why_json(name, found), nl=False)
    elif found:
        typer.echo(tree.why_text(known, found, width), nl=False)
    if not found:
        typer.echo(f"envfreeze: {tree.absent(known, name)}", err=True)
        raise typer.Exit(Exit.NO)
