"""``envfreeze diff``."""

from pathlib import Path
from typing import Annotated

import typer

from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import TARGET, Explain, FailOn, Json, Only, Quiet
from envfreeze.cli.terminal import context_for, shown
from envfreeze.errors import Exit, UsageError

app = command_app()


SIDE = (
    "A lock, or a document of another tool (requirements.txt, pylock.toml, uv.lock, poetry.lock,"
    " conda-lock.yml, environment.yml, an @EXPLICIT list, pixi.lock, CycloneDX JSON), or a target: "
    + TARGET
)


@app.command()
@guard
def diff(
    before: Annotated[
        str | None,
        typer.Argument(metavar="A", help=SIDE + " With --git: the lock."),
    ] = None,
    after: Annotated[str | None, typer.Argument(metavar="B", help="The same.")] = None,
    git: Annotated[
        str | None,
        typer.Option(
            "--git",
            metavar="REV",
            help="The lock (env.lock, unless A is another) at this revision of its repository,"
            " against the one that lies here; REV..REV: between two, REV...REV: since they parted.",
        ),
    ] = None,
    files: Annotated[
        bool,
        typer.Option(
            "--files",
            help="File by file, from what is at hand: lines of texts, symbols of libraries.",
        ),
    ] = False,
    only: Only = None,
    fail_on: FailOn = None,
    explain: Explain = False,
    format: Annotated[
        str, typer.Option("--format", help="text, json, markdown or html (one file, no network).")
    ] = "text",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to this file.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """What differs between two locks or environments, and what that may do to results.

    Worst first. Exit 0: nothing differs; 1: something.
    """
    from envfreeze import workflow
    from envfreeze.cli import judged

    asked = judged.Asked.of(only, fail_on)
    wanted = judged.format_of("json" if json else format)
    one, two = _sides(before, after, git)
    found = workflow.compared(one, two, context_for(quiet), asked.layers, files=files)
    deep = found.files() if files else None
    judgement = workflow.judged(found.difference)
    data = judged.rendered(judgement, wanted, found.summary, files=deep, explain=explain)
    if output is not None:
        workflow.write_text(output, data)
    elif wanted != "text":
        typer.echo(data, nl=False)
    elif not quiet:
        typer.echo(shown(data), nl=False)
    raise typer.Exit(Exit.OK if asked.passes(judgement) else Exit.NO)


def _sides(before: str | None, after: str | None, git: str | None) -> tuple[str, str]:
    """What ``diff`` is to compare."""
    from envfreeze import workflow

    if git is not None:
        if after is not None:
            raise UsageError(
                "--git compares revisions of one lock, and two are named",
                hint=f"For example: envfreeze diff --git REV {before}",
            )
        return workflow.sides(git, Path(before or "env.lock"))
    if before is None or after is None:
        raise UsageError(
            "diff needs two sides", hint="envfreeze diff A B, or envfreeze diff --git REV [LOCK]"
        )
    return before, after
