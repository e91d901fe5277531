"""``envfreeze verify``."""

from typing import Annotated

import typer

from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import (
    TARGET,
    Explain,
    FailOn,
    Json,
    LockPath,
    Only,
    Quiet,
    Rehash,
    ReportPath,
)
from envfreeze.cli.terminal import context_for, shown
from envfreeze.errors import Exit

app = command_app()


@app.command()
@guard
def verify(
    lock: LockPath,
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help=TARGET)] = None,
    rehash: Rehash = False,
    satisfies: Annotated[
        bool,
        typer.Option("--satisfies", help="Let pass what is known not to change results."),
    ] = False,
    only: Only = None,
    fail_on: FailOn = None,
    explain: Explain = False,
    report: ReportPath = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Is this environment still that lock? Exit 0: yes; 1: no, and why."""
    from envfreeze import workflow
    from envfreeze.cli import judged

    asked = judged.Asked.of(only, fail_on, satisfies=satisfies)
    context = context_for(quiet)
    found = workflow.verified(lock, target, rehash=rehash, context=context, layers=asked.layers)
    if report is not None:
        workflow.write_report(found, report)
    judgement = workflow.judged(found.difference)
    if json:
        typer.echo(judged.as_json(judgement), nl=False)
    elif not quiet:
        typer.echo(shown(judged.verified_text(judgement, asked, explain=explain)), nl=False)
    raise typer.Exit(Exit.OK if asked.passes(judgement) else Exit.NO)
