"""``envfreeze export``."""

from pathlib import Path
from typing import Annotated

import typer

from envfreeze.cli.basing import with_base
from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import LockPath, Offline, Quiet
from envfreeze.cli.terminal import context_for
from envfreeze.errors import UsageError, printable

app = command_app()


@app.command()
@guard
def export(
    lock: LockPath,
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help="dockerfile, requirements or pylock; of conda: conda-explicit, conda-lock,"
            " environment or pixi; a bill of materials: cyclonedx or spdx.",
        ),
    ] = "dockerfile",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="dockerfile: the directory to make; else the file to write.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail where something has no public URL.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(help="dockerfile: the base image, as for a build.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="HOST[/PREFIX]", help="dockerfile: a mirror to choose it from."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(metavar="NAME|UID[:GID]|root", help="dockerfile: whom the image runs as."),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="dockerfile: the name in its README.")] = None,
    template: Annotated[
        Path | None, typer.Option(metavar="DIR", help="dockerfile: your copy of the templates.")
    ] = None,
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Write a lock for other tools: a Dockerfile that needs only public URLs, requirements.txt
    with hashes, pylock.toml; of conda packages an explicit file, conda-lock.yml, environment.yml,
    pixi.lock; a bill of materials in CycloneDX or SPDX."""
    from envfreeze import workflow

    if kind not in workflow.FORMATS:
        raise UsageError(f"--format {kind}: not a format", hint=", ".join(workflow.FORMATS))
    context = context_for(quiet)
    options = workflow.ImageOptions(
        offline=offline, tag=tag, base=base, registry=registry, template=template, user=user
    )
    if kind == "dockerfile":
        options = with_base(lock, options, context, quiet)
    else:
        _reject_format(kind, base=base, registry=registry, user=user, tag=tag, template=template)
    usual = {
        "dockerfile": "portable",
        "requirements": "requirements.txt",
        "pylock": "pylock.toml",
        "conda-explicit": "explicit.txt",
        "conda-lock": "conda-lock.yml",
        "environment": "environment.yml",
        "pixi": "pixi.lock",
        "cyclonedx": "bom.cdx.json",
        "spdx": "bom.spdx.json",
    }
    into = output or Path(usual[kind])
    exported = workflow.export(lock, kind, into, options, context, strict)
    for note in [] if quiet else exported.notes:
        typer.echo(printable(note), err=True)
    typer.echo(exported.place)


def _reject_format(kind: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name} is not for --format {kind}")
