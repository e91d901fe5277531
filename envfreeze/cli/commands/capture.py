"""``envfreeze capture``."""

from pathlib import Path
from typing import Annotated

import typer

from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import TARGET, Json, Offline, Quiet, Rehash
from envfreeze.cli.terminal import context_for
from envfreeze.errors import printable

app = command_app()


@app.command()
@guard
def capture(
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help=TARGET)] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The lock to write (-: standard output); packed bytes go to LOCK.d.",
        ),
    ] = Path("env.lock"),
    offline: Offline = False,
    pack: Annotated[
        bool,
        typer.Option("--pack/--no-pack", help="Keep the bytes of what cannot be proved."),
    ] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail unless everything is proved or packed.")
    ] = False,
    rehash: Rehash = False,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Leave this out, with what only it needs; may be repeated."
        ),
    ] = None,
    pack_base: Annotated[
        bool,
        typer.Option(
            "--pack-base",
            help="docker:, image: keep what the image has as well, so that the lock needs no base.",
        ),
    ] = False,
    needs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROGRAM",
            help="A program that packages call (ffmpeg, git): what brings it is needed, too; "
            "may be repeated.",
        ),
    ] = None,
    system: Annotated[
        str,
        typer.Option(
            "--system",
            metavar="needed|essential|manual|all",
            help="Debian, Ubuntu: which system packages to keep, each of these with the ones before"
            " it. essential: what every system begins with (build --base bootstrap); manual: what"
            " was asked for by hand; all: every one.",
        ),
    ] = "needed",
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write a lock of an environment: each package proved or packed."""
    import time

    from envfreeze import workflow

    started = time.monotonic()
    options = workflow.CaptureOptions(
        offline=offline,
        pack=pack,
        strict=strict,
        rehash=rehash,
        without=tuple(without or ()),
        pack_base=pack_base,
        needs=tuple(needs or ()),
        system=system,
    )
    context = context_for(quiet)
    captured = workflow.capture(target, output, options, context)
    from envfreeze.cli import summary  # Only now: the probe was to be started first.
    from envfreeze.model.lock import dumps

    if json:
        typer.echo(summary.capture_json(captured, output), nl=False)
    elif output == workflow.STDOUT:
        typer.echo(dumps(captured.lock), nl=False)
    elif not quiet:
        typer.echo(summary.capture_text(captured, output, time.monotonic() - started), nl=False)
    if captured.left_out and not quiet:
        typer.echo(f"left out: {printable(', '.join(captured.left_out))}", err=True)
    for line in [] if quiet else summary.warnings(captured):
        typer.echo(line, err=True)
