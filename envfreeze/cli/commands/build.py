"""``envfreeze build``: a venv, a conda prefix, an image or an archive of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envfreeze.cli.basing import with_base
from envfreeze.cli.guard import command_app, guard
from envfreeze.cli.options import Json, LockPath, Offline, Quiet, ReportPath, Yes
from envfreeze.cli.terminal import ask, context_for
from envfreeze.errors import Exit, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from envfreeze.build.sync import SyncPlan
    from envfreeze.workflow import Built, Context, ImageOptions, Verified

app = command_app()


@app.command()
@guard
def build(
    lock: LockPath,
    to: Annotated[
        str, typer.Option("--to", help="What to build: venv, conda, docker or oci.")
    ] = "venv",
    into: Annotated[
        Path | None,
        typer.Option(
            help="venv: the directory to make, or a venv to make equal; conda: the prefix to make;"
            " oci: the archive to write."
        ),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            help="docker: the name of the image; oci: the same, and load it into the engine"
            " (with --push: into the registry instead)."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="docker, oci: the base image, NAME@sha256:DIGEST; without it: chosen from the"
            " lock. bootstrap: made of the lock's own packages. oci takes oci:DIRECTORY and"
            " oci-archive:FILE, too."
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[/PREFIX]",
            help="docker, oci: a mirror of the official images to choose from.",
        ),
    ] = None,
    render_only: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="docker: write the Dockerfile and context, stop there."),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="docker: your copy of the templates (envfreeze templates DIR)."
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|UID[:GID]|root",
            help="docker, oci: whom the image runs as; without it: 1000:1000, or root where the"
            " environment lies below /root.",
        ),
    ] = None,
    push: Annotated[
        bool,
        typer.Option(
            "--push",
            help="docker, oci: push to the registry that --tag names, with the lock attached.",
        ),
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="docker, oci: place the virtual environment there; without it: where it was.",
        ),
    ] = None,
    interpreter: Annotated[
        str | None,
        typer.Option(
            metavar="base|system|packed|standalone|FILE",
            help="docker, oci: where the interpreter comes from: the base image, the .debs, the"
            " lock's own archive, the published archive that it names, or a .tar.gz here; without"
            " it: as the lock says.",
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system",
            metavar="needed|essential|manual|all",
            help="docker, oci: which of the lock's system packages to install; without it: needed.",
        ),
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="venv: the interpreter to use, if not the one found.")
    ] = None,
    allow_post_link: Annotated[
        bool,
        typer.Option(
            "--allow-post-link",
            help="conda: run the scripts of packages, whose effect is in the lock already.",
        ),
    ] = False,
    report: ReportPath = None,
    yes: Yes = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Rebuild the environment of a lock, then probe it and compare."""
    from envfreeze import workflow

    context = context_for(quiet)
    options = workflow.BuildOptions(offline=offline, python=python, post_link=allow_post_link)
    if to != "conda":
        _reject(to, allow_post_link=allow_post_link or None)
    if to == "conda":
        _reject("conda", tag=tag, base=base, registry=registry, user=user, push=push or None)
        _reject("conda", render_only=render_only, template=template, python=python, yes=yes or None)
        if into is None:
            raise UsageError("--to conda needs --into DIR", hint="For example: --into rebuilt")
        built = workflow.build_conda(lock, into, options, context)
        _report(built.verified, report)
        _verdict(built, json, quiet, f"{into}/bin/python")
        return
    if to == "venv":
        _reject("venv", tag=tag, base=base, registry=registry, user=user, push=push or None)
        _reject("venv", render_only=render_only, template=template, system=system)
        _reject("venv, which takes --python", interpreter=interpreter)
        _reject("venv, which takes --into", prefix=prefix)
        if into is None:
            raise UsageError("--to venv needs --into DIR", hint="For example: --into rebuilt")
        built = workflow.build_venv(lock, into, options, context, _sync_confirm(into, yes, quiet))
        _report(built.verified, report)
        _verdict(built, json, quiet, f"{into}/bin/python")
        return
    images = workflow.ImageOptions(
        offline=offline,
        tag=tag,
        base=base,
        registry=registry,
        render_only=render_only,
        template=template,
        into=into,
        user=user,
        push=push,
        interpreter=interpreter,
        prefix=prefix,
        system=system or "needed",
    )
    if to == "docker":
        _reject("docker", into=into, python=python, yes=yes or None)
        if render_only is not None:
            _reject("docker with --render-only", report=report)
        if push and render_only is not None:
            raise UsageError("--render-only builds nothing that could be pushed")
        _docker(lock, images, context, json, quiet, report)
    elif to == "oci":
        _reject("oci", python=python, yes=yes or None)
        _reject("oci", render_only=render_only, template=template)
        if report is not None and tag is None:
            raise UsageError("--report needs --tag: an archive that nobody loads is not verified")
        _oci(lock, images, context, json, quiet, report)
    else:
        raise UsageError(
            f"--to {to}: not something that can be built", hint="venv, conda, docker or oci"
        )


def _reject(to: str, **given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name.replace('_', '-')} is not for --to {to}")


def _report(found: "Verified | None", path: Path | None) -> None:
    if found is not None and path is not None:
        from envfreeze import workflow

        workflow.write_report(found, path)


def _oci(
    lock: Path,
    options: "ImageOptions",
    context: "Context",
    json: bool,
    quiet: bool,
    report: Path | None,
) -> None:
    from envfreeze import workflow
    from envfreeze.cli import summary

    if options.into is None and not options.push:
        raise UsageError("--to oci needs --into FILE", hint="For example: --into image.tar")
    archived = workflow.build_oci(lock, with_base(lock, options, context, quiet), context)
    if json:
        typer.echo(summary.archived_json(archived), nl=False)
    elif not quiet:
        typer.echo(summary.archived_text(archived), nl=False)
    if archived.pushed is not None and not (json or quiet):
        typer.echo(summary.pushed_text(archived.pushed), nl=False)
    if archived.built is not None:
        _report(archived.built.verified, report)
        _verdict(
            archived.built, False, quiet or json, f"docker run --rm -it {archived.built.place}"
        )


def _docker(
    lock: Path,
    options: "ImageOptions",
    context: "Context",
    json: bool,
    quiet: bool,
    report: Path | None,
) -> None:
    from envfreeze import workflow

    options = with_base(lock, options, context, quiet)
    if options.render_only is not None:
        typer.echo(workflow.render_docker(lock, options, context) / "Dockerfile")
        return
    built = workflow.build_docker(lock, options, context)
    _report(built.verified, report)
    _verdict(built, json, quiet, f"docker run --rm -it {built.place}")


def _verdict(built: "Built", json: bool, quiet: bool, next_step: str) -> None:
    from envfreeze import workflow
    from envfreeze.cli import judged, summary

    judgement = workflow.judged(built.difference)
    if json:
        typer.echo(judged.as_json(judgement), nl=False)
    elif not quiet or not built.difference.equal:
        typer.echo(summary.built_text(built, next_step, judgement), nl=False)
    if built.pushed is not None and not quiet:
        typer.echo(summary.pushed_text(built.pushed), nl=False, err=json)
    raise typer.Exit(Exit.OK if built.difference.equal else Exit.NO)


def _sync_confirm(into: Path, yes: bool, quiet: bool) -> "Callable[[SyncPlan], bool]":
    def confirm(todo: "SyncPlan") -> bool:
        from envfreeze.cli import asking

        return ask(asking.sync_text(todo), f"Change {into}?", yes, quiet)

    return confirm
