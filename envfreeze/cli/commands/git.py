"""``envfreeze git``: what git calls, and what tells it to."""

from pathlib import Path
from typing import Annotated

import typer

from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import Quiet
from envfreeze.cli.terminal import context_for
from envfreeze.errors import Exit, printable

app = command_app("Locks in git: what differs is told by git diff and git log -p, too.")


@app.command("setup")
@guard
def git_setup(
    lock: Annotated[Path, typer.Argument(metavar="[LOCK]", help="The lock file.")] = Path(
        "env.lock"
    ),
    everywhere: Annotated[
        bool,
        typer.Option("--global", help="For all your repositories, each lock of that name."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Have git show what differs in a lock: one line of .gitattributes, two of git config."""
    from envfreeze import workflow

    done = workflow.setup(lock, everywhere=everywhere)
    for said in [] if quiet else done or ["it is set up already"]:
        typer.echo(printable(said))


@app.command("diff")
@guard
def git_diff(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH OLD-FILE OLD-HEX OLD-MODE NEW-FILE NEW-HEX NEW-MODE",
            help="As git gives them to an external diff.",
        ),
    ],
) -> None:
    """What git diff calls. Exit 0, whatever the files are."""
    from envfreeze import workflow
    from envfreeze.diff import report

    shown = workflow.shown(arguments, context_for(True))
    typer.echo(printable(shown.head))
    if shown.judgement is not None:
        typer.echo(report.as_text(shown.judgement), nl=False)
    else:
        typer.echo(printable(shown.text), nl=False)


@app.command("text")
@guard
def git_text(file: Annotated[Path, typer.Argument(metavar="FILE", help="The lock file.")]) -> None:
    """What git log -p calls: a lock as text, one fact a line; another file as it is."""
    from envfreeze import workflow

    typer.echo(workflow.text(file), nl=False)


@app.command("check")
@guard
def git_check(
    locks: Annotated[list[Path], typer.Argument(metavar="LOCK...", help="The lock files.")],
) -> None:
    """What a hook calls before a commit. Exit 0: each is whole and hermetic; 4, 5: one is not."""
    from envfreeze import workflow

    problems = workflow.check(locks)
    for problem in problems:
        typer.echo(f"envfreeze: {printable(problem)}", err=True)
    raise typer.Exit(Exit.NOT_HERMETIC if problems else Exit.OK)
