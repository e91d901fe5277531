"""``envfreeze``: the commands. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from envfreeze import __version__
from envfreeze.errors import EnvfreezeError, Exit, UsageError, printable

if TYPE_CHECKING:
    from envfreeze.build.sync import SyncPlan
    from envfreeze.model.lock import Lock
    from envfreeze.workflow import Built, Context, ImageOptions, Verified

app = typer.Typer(
    name="envfreeze",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ENVFREEZE"},
    help="Capture a Python environment that already runs, rebuild it exactly, prove it.",
    epilog="Exit codes: 0 yes; 1 the answer is no (differs, not verified); 2 usage; 3 the target "
    "could not be observed; 4 not hermetic under --strict; 5 bad lock; 6 engine; 7 a missing "
    "extra; 8 an artifact cannot be had; 9 the file system refused; 130 interrupted.",
)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Offline = Annotated[bool, typer.Option("--offline", help="Use no network.")]
Rehash = Annotated[
    bool,
    typer.Option("--rehash", help="Read every file, also those unchanged since an earlier run."),
]
ReportPath = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE", help="Write the verdict on each layer to this file, as JSON."
    ),
]
TARGET = (
    "The active environment, or a path to an interpreter, a venv or a prefix, or pid:N,"
    " docker:NAME, image:REF, root:DIR (these three with :/PATH of an interpreter or venv in it)."
)
SIDE = (
    "A lock, or a document of another tool (requirements.txt, pylock.toml, uv.lock, poetry.lock,"
    " conda-lock.yml, environment.yml, an @EXPLICIT list, pixi.lock, CycloneDX JSON), or a target: "
    + TARGET
)
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")]
LockPath = Annotated[Path, typer.Argument(metavar="LOCK", help="The lock file.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"envfreeze {__version__}")
        raise typer.Exit


def guarded(command: Callable[[], object]) -> int:
    """Run *command*; its exit code, an error printed with its next step.

    The only place that turns an error into an exit. It stands around each command, since
    typer has its own idea of what an interrupt or a closed pipe should say.
    """
    try:
        command()
    except EnvfreezeError as error:
        typer.echo(f"envfreeze: {error}", err=True)
        if error.hint:
            typer.echo(f"  {error.hint}".replace("\n", "\n  "), err=True)
        return int(error.exit_code)
    except KeyboardInterrupt as stop:
        said = str(stop) or "nothing was left half-written"
        typer.echo(f"envfreeze: interrupted; {printable(said)}", err=True)
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.OK)
    except OSError as error:
        place = f" {printable(str(error.filename))}" if error.filename else ""
        typer.echo(f"envfreeze: the file system refused{place}: {error.strerror}", err=True)
        return int(Exit.DISK)
    return int(Exit.OK)


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Register *function* as a command, guarded."""
    return app.command()(_guard(function))


def _guard(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def guard(**given: object) -> None:
        raise typer.Exit(guarded(lambda: function(**given)))

    return guard


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            allow_from_autoenv=False,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    del version


@_command
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
    from envfreeze.cli import summary
    from envfreeze.model.lock import dumps

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
    context = _context(quiet)
    captured = workflow.capture(target, output, options, context)
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


@_command
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
    solver_free: Annotated[
        str | None,
        typer.Option(
            "--solver-free",
            metavar="conda|mamba|micromamba|PATH",
            help="conda: let that program link the packages, from an explicit file; without it:"
            " py-rattler does.",
        ),
    ] = None,
    report: ReportPath = None,
    yes: Yes = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Rebuild the environment of a lock, then probe it and compare."""
    from envfreeze import workflow

    context = _context(quiet)
    options = workflow.BuildOptions(
        offline=offline, python=python, post_link=allow_post_link, solver_free=solver_free
    )
    if to != "conda":
        _reject(to, allow_post_link=allow_post_link or None, solver_free=solver_free)
    if to == "conda":
        _reject("conda", tag=tag, base=base, registry=registry, user=user, push=push or None)
        _reject("conda", render_only=render_only, template=template, python=python, yes=yes or None)
        _reject("conda", interpreter=interpreter, prefix=prefix, system=system)
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


def _with_base(lock: Path, options: ImageOptions, context: Context, quiet: bool) -> ImageOptions:
    """*options* with a base, chosen from the lock where none was given."""
    from dataclasses import replace

    from envfreeze import workflow
    from envfreeze.cli import summary

    if options.base is not None:
        return options
    chosen = workflow.choose_base(lock, options, context)
    if not quiet:
        typer.echo(summary.base_text(chosen), nl=False, err=True)
    return replace(options, base=chosen.reference)


def _report(found: Verified | None, path: Path | None) -> None:
    if found is not None and path is not None:
        from envfreeze import workflow

        workflow.write_report(found, path)


def _oci(
    lock: Path,
    options: ImageOptions,
    context: Context,
    json: bool,
    quiet: bool,
    report: Path | None,
) -> None:
    from envfreeze import workflow
    from envfreeze.cli import summary

    if options.into is None and not options.push:
        raise UsageError("--to oci needs --into FILE", hint="For example: --into image.tar")
    archived = workflow.build_oci(lock, _with_base(lock, options, context, quiet), context)
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
    options: ImageOptions,
    context: Context,
    json: bool,
    quiet: bool,
    report: Path | None,
) -> None:
    from envfreeze import workflow

    options = _with_base(lock, options, context, quiet)
    if options.render_only is not None:
        typer.echo(workflow.render_docker(lock, options, context) / "Dockerfile")
        return
    built = workflow.build_docker(lock, options, context)
    _report(built.verified, report)
    _verdict(built, json, quiet, f"docker run --rm -it {built.place}")


def _verdict(built: Built, json: bool, quiet: bool, next_step: str) -> None:
    from envfreeze import workflow
    from envfreeze.cli import judged, summary

    if json:
        typer.echo(judged.as_json(workflow.judged(built.difference)), nl=False)
    elif not quiet or not built.difference.equal:
        typer.echo(summary.built_text(built, next_step), nl=False)
    if built.pushed is not None and not quiet:
        typer.echo(summary.pushed_text(built.pushed), nl=False, err=json)
    raise typer.Exit(Exit.OK if built.difference.equal else Exit.NO)


def _sync_confirm(into: Path, yes: bool, quiet: bool) -> Callable[[SyncPlan], bool]:
    def confirm(todo: SyncPlan) -> bool:
        from envfreeze.cli import asking

        return _ask(asking.sync_text(todo), f"Change {into}?", yes, quiet)

    return confirm


def _ask(text: str, question: str, yes: bool, quiet: bool) -> bool:
    """Whether what *text* says may be done. On a terminal a person is asked.

    :raises UsageError: there is nobody to ask, and no ``--yes``.
    """
    if yes:
        if not quiet:
            typer.echo(text, err=True)
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"something would be removed, and there is no terminal to ask at:\n{text}",
            hint="Add --yes if that is right.",
        )
    typer.echo(text, err=True)
    return typer.confirm(printable(question), err=True)


Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="LAYER", help="Compare this layer alone; may be repeated."),
]
FailOn = Annotated[
    str | None,
    typer.Option(
        "--fail-on",
        metavar="LEVEL",
        help="Exit 1 only for a difference of this level or a worse one, the machine below"
        " included: changes, may-change, unknown or harmless.",
    ),
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Each judgement with its reason and its source.")
]


@_command
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
    context = _context(quiet)
    found = workflow.verified(lock, target, rehash=rehash, context=context, layers=asked.layers)
    _report(found, report)
    judgement = workflow.judged(found.difference)
    if json:
        typer.echo(judged.as_json(judgement), nl=False)
    elif not quiet:
        typer.echo(_shown(judged.verified_text(judgement, asked, explain=explain)), nl=False)
    raise typer.Exit(Exit.OK if asked.passes(judgement) else Exit.NO)


@_command
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
    found = workflow.compared(one, two, _context(quiet), asked.layers, files=files)
    deep = found.files() if files else None
    judgement = workflow.judged(found.difference)
    data = judged.rendered(judgement, wanted, found.summary, files=deep, explain=explain)
    if output is not None:
        workflow.write_text(output, data)
    elif wanted != "text":
        typer.echo(data, nl=False)
    elif not quiet:
        typer.echo(_shown(data), nl=False)
    raise typer.Exit(Exit.OK if asked.passes(judgement) else Exit.NO)


def _shown(text: str) -> str:
    """*text* as it is, unless a person reads it on a terminal."""
    import shutil

    from envfreeze.cli import judged

    if not sys.stdout.isatty():
        return text
    return judged.on_terminal(text, shutil.get_terminal_size().columns, os.environ)


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


@_command
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

    pulled = workflow.pull(image, output, _context(quiet))
    if json:
        typer.echo(summary.pulled_json(pulled, output), nl=False)
    elif not quiet:
        typer.echo(summary.pulled_text(pulled, output), nl=False)
    if pulled.missing and not json:
        typer.echo(summary.missing_text(pulled), nl=False, err=True)
    raise typer.Exit(Exit.NO if pulled.missing else Exit.OK)


@_command
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


def _needs(lock: Lock, name: str | None, json: bool) -> None:
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


@_command
def doctor(
    lock: Annotated[
        Path | None,
        typer.Argument(metavar="LOCK", help="The lock file; without it: what is active here."),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Will it run on this machine? Exit 0: nothing speaks against it; 1: a problem, and its fix."""
    from envfreeze import workflow
    from envfreeze.doctor import report

    examined = workflow.doctor(lock, _context(quiet))
    if json:
        typer.echo(report.as_json(examined.checks, examined.subject), nl=False)
    elif not quiet:
        typer.echo(report.as_text(examined.checks, examined.subject), nl=False)
    raise typer.Exit(Exit.OK if report.runs(examined.checks) else Exit.NO)


@_command
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
    context = _context(quiet)
    options = workflow.ImageOptions(
        offline=offline, tag=tag, base=base, registry=registry, template=template, user=user
    )
    if kind == "dockerfile":
        options = _with_base(lock, options, context, quiet)
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


@_command
def templates(
    into: Annotated[Path, typer.Argument(metavar="DIR", help="The directory to write them to.")],
) -> None:
    """Write a copy of the templates of an image, to change it: envfreeze build --template DIR."""
    from envfreeze import workflow

    for name in workflow.templates(into):
        typer.echo(into / name)


git_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Locks in git: what differs is told by git diff and git log -p, too.",
)
app.add_typer(git_app, name="git")


@git_app.command("setup")
@_guard
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


@git_app.command("diff")
@_guard
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

    shown = workflow.shown(arguments, _context(True))
    typer.echo(printable(shown.head))
    if shown.judgement is not None:
        typer.echo(report.as_text(shown.judgement), nl=False)
    else:
        typer.echo(printable(shown.text), nl=False)


@git_app.command("text")
@_guard
def git_text(file: Annotated[Path, typer.Argument(metavar="FILE", help="The lock file.")]) -> None:
    """What git log -p calls: a lock as text, one fact a line; another file as it is."""
    from envfreeze import workflow

    typer.echo(workflow.text(file), nl=False)


@git_app.command("check")
@_guard
def git_check(
    locks: Annotated[list[Path], typer.Argument(metavar="LOCK...", help="The lock files.")],
) -> None:
    """What a hook calls before a commit. Exit 0: each is whole and hermetic; 4, 5: one is not."""
    from envfreeze import workflow

    problems = workflow.check(locks)
    for problem in problems:
        typer.echo(f"envfreeze: {printable(problem)}", err=True)
    raise typer.Exit(Exit.NOT_HERMETIC if problems else Exit.OK)


cache_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The cache of fetched and packed files: where it lies, whether it is whole, pruning.",
)
app.add_typer(cache_app, name="cache")


@cache_app.command("dir")
@_guard
def cache_dir(json: Json = False) -> None:
    """Print the directory of the cache (ENVFREEZE_CACHE_DIR chooses another)."""
    from envfreeze.cli import cache
    from envfreeze.store import default_root

    typer.echo(cache.dir_json(default_root()) if json else default_root(), nl=not json)


@cache_app.command("verify")
@_guard
def cache_verify(quiet: Quiet = False, json: Json = False) -> None:
    """Hash every file of the cache and remove the damaged ones. Exit 1: some were."""
    from envfreeze import workflow
    from envfreeze.cli import cache

    result = workflow.cache_verify(_context(quiet))
    if json:
        typer.echo(cache.verified_json(result), nl=False)
    elif not quiet or result.damaged:
        typer.echo(cache.verified_text(result), nl=False)
    raise typer.Exit(Exit.NO if result.damaged else Exit.OK)


@cache_app.command("prune")
@_guard
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

    def confirm(found: workflow.Prunable) -> bool:
        return _ask(cache.prunable_text(found), "Remove them?", yes, quiet)

    result = workflow.cache_prune(_context(quiet), older_than, confirm, everything=everything)
    if json:
        typer.echo(cache.pruned_json(result), nl=False)
    elif not quiet:
        typer.echo(cache.pruned_text(result), nl=False)


def _context(quiet: bool) -> Context:
    from envfreeze import workflow

    if quiet or not sys.stderr.isatty():
        return workflow.Context()
    from envfreeze.cli.progress import Bars

    return workflow.Context(progress=Bars())


def run(arguments: list[str] | None = None) -> None:
    """Run the command line in this process; ends with SystemExit."""
    app(arguments, prog_name="envfreeze")


def main() -> None:
    """The entry point."""
    try:
        run()
    except SystemExit as end:
        _leave(end.code)


def _leave(code: object) -> None:
    """End the process at once: taking apart what was made of a large environment is a tenth of
    the time of a capture, and everything is closed and written by now."""
    number = code if isinstance(code, int) else int(bool(code))
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        number = number or int(Exit.DISK)
    os._exit(number)


if __name__ == "__main__":
    main()
