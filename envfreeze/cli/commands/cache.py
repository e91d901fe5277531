"""``envfreeze cache``."""

from typing import TYPE_CHECKING, Annotated

import typer

from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import Json, Quiet, Yes
from envfreeze.cli.terminal import ask, context_for
from envfreeze.errors import Exit

if TYPE_CHECKING:
    from envfreeze.workflow import Prunable

app = command_app(
    "The cache of fetched and packed files: where it lies, whether it is whole, pruning."
)


@app.command("dir")
@guard
def cache_dir(json: Json = False) -> None:
    """Print the directory of the cache (ENVFREEZE_CACHE_DIR chooses another)."""
    from envfreeze.cli import cache
    from envfreeze.store import default_root

    typer.echo(cache.dir_json(default_root()) if json else default_root(), nl=not json)


@app.command("verify")
@guard
def cache_verify(quiet: Quiet = False, json: Json = False) -> None:
    """Hash every file of the cache and remove the damaged ones. Exit 1: some were."""
    from envfreeze import workflow
    from envfreeze.cli import cache

    result = workflow.cache_verify(context_for(quiet))
    if json:
        typer.echo(cache.verified_json(result), nl=False)
    elif not quiet or result.damaged:
        typer.echo(cache.verified_text(result), nl=False)
    raise typer.Exit(Exit.NO if result.damaged else Exit.OK)


@app.command("prune")
@guard
def cache_prune(
    older_than: Annotated[
        int, typer.Option(metavar="DAYS", min=0, help="Remove what was not used for so long.")
    ] = 30,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of it.")] = False,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Remove what was not used for a while, and what killed runs left behind."""
    from envfreeze import workflow
    from envfreeze.cli import cache

    def confirm(found: "Prunable") -> bool:
        return ask(cache.prunable_text(found), "Remove them?", yes, quiet)

    result = workflow.cache_prune(context_for(quiet), older_than, confirm, everything=everything)
    if json:
        typer.echo(cache.pruned_json(result), nl=False)
    elif not quiet:
        typer.echo(cache.pruned_text(result), nl=False)
